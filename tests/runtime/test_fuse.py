"""Fusing changes no output, takes what can be taken, and leaves every network that it does not understand."""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn

from advisor.runtime.fold import fold
from advisor.runtime.fuse import fuse, is_fused
from advisor.runtime.fused import Fused
from advisor.runtime.sparse import Sparse, can_replace
from tests.runtime.sparse_cases import pair


def sparsify(module: nn.Module) -> nn.Module:
    """Every plain layer with two inputs or more made sparse."""
    for parent in list(module.modules()):
        for name, child in list(parent._modules.items()):
            if child is not None and can_replace(child) and child.weight.shape[1] > 3:
                block = 4 if child.weight.shape[0] % 4 == 0 else 1
                parent._modules[name], _ = pair(child, block, even=max(2, child.weight.shape[1] // 4))
    return module


def names(net: nn.Module) -> list[str]:
    return [name for name, _ in net.named_modules(remove_duplicate=False)]


def calls(net: nn.Module, x: Tensor) -> list[tuple[str, bool, str]]:
    """(layer, with a residual, activation) for each call of a sparse layer."""
    seen: list[tuple[str, bool, str]] = []

    def note(name: str) -> Callable[..., None]:
        def hook(layer: Sparse, args: tuple[Tensor, ...], given: dict[str, object]) -> None:
            seen.append((name, given.get("residual") is not None, str(given.get("activation") or layer.activation)))

        return hook

    handles = [
        layer.register_forward_pre_hook(note(name), with_kwargs=True)
        for name, layer in net.named_modules()
        if isinstance(layer, Sparse)
    ]
    with torch.no_grad():
        net(x)
    for handle in handles:
        handle.remove()
    return seen


def check(net: nn.Module, x: Tensor) -> nn.Module:
    """The fused network: as before in outputs, names and state."""
    torch.manual_seed(0)
    net = sparsify(net).eval()
    with torch.no_grad():
        wanted = net(x.clone())
        made = fuse(copy.deepcopy(net), (x.clone(),))
        torch.testing.assert_close(made(x.clone()), wanted, rtol=1e-4, atol=1e-5)
        other = torch.randn_like(x)
        torch.testing.assert_close(made(other.clone()), net(other.clone()), rtol=1e-4, atol=1e-5)
    assert list(made.state_dict()) == list(net.state_dict())
    assert names(made) == names(net)
    assert not made.training
    return made


class Block(nn.Module):
    """A residual block as torchvision writes it. B 8 H W → B 8 H W."""

    def __init__(self, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(8, 8, 3, padding=1), nn.Identity()
        self.conv2 = nn.Conv2d(8, 8, 1)
        self.relu = activation or nn.ReLU(inplace=True)
        self.note = "kept"

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.conv2(out)
        out += identity
        result: Tensor = self.relu(out)
        return result


X = torch.randn(2, 8, 6, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("activation", "name"), [(nn.ReLU(True), "relu"), (nn.ReLU6(), "relu6"), (nn.SiLU(), "silu")])
def test_a_residual_block(activation: nn.Module, name: str) -> None:
    made = check(nn.Sequential(Block(activation), Block(activation)), X)
    assert calls(made, X) == [(f"{i}.conv{k}", k == 2, name) for i in (0, 1) for k in (1, 2)]
    assert isinstance(made, nn.Sequential)
    assert isinstance(made[0], Fused)
    assert made[0].note == "kept"
    assert is_fused(made)


def test_copies_pickles_compiles_and_exports() -> None:
    made = check(nn.Sequential(Block(), nn.Conv2d(8, 8, 1), nn.ReLU()), X)
    with torch.no_grad():
        wanted = made(X)
        for other in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
            assert torch.equal(other(X), wanted)
            assert calls(other, X) == calls(made, X)
            assert names(other) == names(made)
            other[0].conv1.weight.data.zero_()
            assert not torch.equal(other(X), made(X))
        compiled = torch.compile(made, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(X), wanted)
        torch.testing.assert_close(torch.export.export(made, (X,)).module()(X), wanted)


def test_activations_in_sequences() -> None:
    shared = nn.ReLU()
    net = nn.Sequential(
        nn.Conv2d(8, 8, 1), shared, nn.Conv2d(8, 8, 3), nn.Identity(), shared, nn.Conv2d(8, 4, 1), nn.GELU()
    )
    made = check(net, X)
    assert calls(made, X) == [("0", False, "relu"), ("2", False, "relu"), ("5", False, "none")]
    assert [type(made[i]) for i in (1, 4, 6)] == [nn.Identity, nn.Identity, nn.GELU]
    made = check(nn.Sequential(nn.Linear(8, 8), nn.SiLU(), nn.Linear(8, 4)), torch.randn(3, 8))
    assert [call[2] for call in calls(made, torch.randn(3, 8))] == ["silu", "none"]


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.a(x))
        z = x + self.b(y)  # no activation behind it
        return nn.functional.silu(self.c(z).add(y))


def test_functions_and_methods() -> None:
    made = check(Functional(), X)
    assert calls(made, X) == [("a", False, "relu"), ("b", True, "none"), ("c", True, "silu")]


class Keeps(nn.Module):
    """What is read twice, broadcast, added to itself or written over by another stays. B 8 H W → B 8 H W."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.shift = nn.Parameter(torch.randn(1, 8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        z = y.relu() + y
        w = self.b(z) + self.shift
        v = self.c(w)
        return v + v


def test_what_must_stay() -> None:
    assert not is_fused(check(Keeps(), X))


class Listed(nn.Module):
    """Looks at the type of its input, as DenseNet's layers do: a trace goes the other way."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor | list[Tensor]) -> Tensor:
        features = [x] if isinstance(x, Tensor) else [x, x]
        out = self.conv(features[0] * len(features)) + features[0]
        return out.relu()


class Branching(Listed):
    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).relu() if x.sum() > 0 else self.conv(x)


class Remembers(Listed):
    def forward(self, x: Tensor) -> Tensor:
        self.last = self.conv(x)
        return self.last.relu()


class Optional(Listed):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        out = self.conv(x).relu()
        return out if mask is None else out * mask


@pytest.mark.parametrize("kind", [Listed, Branching, Remembers, Optional])
def test_what_a_trace_would_get_wrong_stays(kind: type[nn.Module]) -> None:
    made = check(nn.Sequential(kind()), X)
    assert not is_fused(made)
    assert isinstance(made[0], kind)


def test_hooks_still_see_what_they_saw() -> None:
    net = sparsify(nn.Sequential(Block(), nn.Conv2d(8, 8, 1), nn.ReLU())).eval()
    seen: list[Tensor] = []
    net[0].conv2.register_forward_hook(lambda layer, args, out: seen.append(out.clone()))
    net[0].register_forward_hook(lambda layer, args, out: seen.append(out.clone()))
    net[1].register_forward_hook(lambda layer, args, out: seen.append(out.clone()))
    with torch.no_grad():
        net(X)
        wanted = list(seen)
        made = fuse(copy.deepcopy(net), (X,))
        seen.clear()
        made(X)
    assert len(seen) == len(wanted) == 3
    for got, expected in zip(seen, wanted, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_inputs_that_do_not_fit_leave_it_alone() -> None:
    net = sparsify(nn.Sequential(Block())).eval()
    assert fuse(net, (torch.zeros(1, 3, 6, 6),)) is net
    assert not is_fused(net)
    plain = nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU())
    assert fuse(plain, (X,)) is plain
    assert isinstance(plain[1], nn.ReLU)


@pytest.mark.parametrize(
    ("name", "fused", "residuals"),
    [
        ("resnet18", 19 - 3, 8),
        pytest.param("mobilenet_v2", 27, 10, marks=pytest.mark.slow),
        pytest.param("efficientnet_b0", 41, 9, marks=pytest.mark.slow),
        pytest.param("vgg11", 9, 0, marks=pytest.mark.slow),
    ],
)
def test_families(name: str, fused: int, residuals: int) -> None:
    torch.manual_seed(0)
    from advisor.trace import analyze

    net, x = getattr(torchvision.models, name)().eval(), torch.randn(1, 3, 64, 64)
    network = analyze(net, x)
    made = check(fold(net, network), x)
    found = calls(made, x)
    assert sum(with_residual or activation != "none" for _, with_residual, activation in found) == fused
    assert sum(with_residual for _, with_residual, _ in found) == residuals
    assert type(made) is type(net)
