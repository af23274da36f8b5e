"""Packed weights: exactly zero where masked, whatever trains them; saved, loaded, copied and moved like any module."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from advisor.errors import PlanError
from advisor.runtime.packed import Packed, pack, pack_shared, packed_of, unpack


def mask_of(weight: torch.Tensor, density: float = 0.3, *, structured: bool = True, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = weight.shape[:2] if structured else weight.shape
    mask = torch.rand(shape, generator=generator) < density
    mask.view(-1)[0] = True
    return mask.view(*mask.shape, *(1,) * (weight.dim() - mask.dim())).expand(weight.shape).contiguous()


LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, padding=1), (2, 4, 8)),
    "conv2d": (lambda: nn.Conv2d(4, 6, 3, groups=2), (2, 4, 8, 8)),
    "conv3d": (lambda: nn.Conv3d(4, 6, 2), (2, 4, 4, 4, 4)),
    "conv_transpose2d": (lambda: nn.ConvTranspose2d(4, 6, 2, stride=2), (2, 4, 5, 5)),
    "linear": (lambda: nn.Linear(10, 7), (3, 10)),
}


@pytest.mark.parametrize("structured", [True, False])
@pytest.mark.parametrize("kind", LAYERS)
def test_equals_the_masked_dense_layer_and_its_gradient(kind: str, structured: bool) -> None:
    make, shape = LAYERS[kind]
    torch.manual_seed(0)
    dense = make().double()
    mask = mask_of(dense.weight, structured=structured)
    sparse = copy.deepcopy(dense)
    pack(sparse, "weight", mask)
    with torch.no_grad():
        dense.weight *= mask
    x = torch.randn(shape, dtype=torch.float64)
    y, z = dense(x), sparse(x)
    torch.testing.assert_close(z, y, rtol=0, atol=1e-12)
    y.square().sum().backward()
    z.square().sum().backward()
    chain = sparse.parametrizations.weight
    assert chain.original.numel() == int(mask.sum())
    torch.testing.assert_close(chain.original.grad, chain[0].right_inverse(dense.weight.grad), rtol=0, atol=1e-10)


def optimisers() -> list[str]:
    found = [
        name
        for name, kind in vars(torch.optim).items()
        if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and kind is not torch.optim.Optimizer
    ]
    # SparseAdam refuses the dense gradients of any ordinary network.
    return sorted(set(found) - {"SparseAdam"})


def build_optimiser(name: str, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    kind = getattr(torch.optim, name)
    wanted: dict[str, Any] = {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1}
    accepted = kind.__init__.__annotations__ | dict.fromkeys(kind.__init__.__code__.co_varnames)
    if name == "Rprop":
        wanted.pop("weight_decay")
    return kind(parameters, **{key: value for key, value in wanted.items() if key in accepted})


@pytest.mark.parametrize("name", optimisers())
def test_masked_weights_stay_zero_under_every_optimiser(name: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5, bias=False))
    masks = {0: mask_of(net[0].weight), 3: mask_of(net[3].weight, structured=False)}
    for place, mask in masks.items():
        pack(net[place], "weight", mask)
    before = {place: net[place].weight.detach().clone() for place in masks}
    optimiser = build_optimiser(name, list(net.parameters()))
    x, y = torch.randn(16, 3, 8, 8), torch.randint(5, (16,))

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        return loss

    for _ in range(4):
        optimiser.step(closure)
    for place, mask in masks.items():
        weight = net[place].weight
        assert torch.equal(weight[~mask], torch.zeros(int((~mask).sum())))
        assert not torch.equal(weight[mask], before[place][mask]), "it must have trained"


def sparse_net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5))
    pack(net[0], "weight", mask_of(net[0].weight))
    pack(net[4], "weight", mask_of(net[4].weight, structured=False))
    return net


def test_saves_without_pickle_and_loads(tmp_path: Path) -> None:
    net, other, x = sparse_net(0), sparse_net(1), torch.randn(2, 3, 8, 8)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    other.load_state_dict(torch.load(tmp_path / "net.pt", weights_only=True))
    torch.testing.assert_close(other(x), net(x))


def test_loads_a_dense_checkpoint() -> None:
    torch.manual_seed(3)
    dense = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5))
    sparse = copy.deepcopy(sparse_net())
    state = dense.state_dict()
    sparse.load_state_dict(state)
    for place in (0, 4):
        mask = next(packed_of(sparse[place]))[1].mask
        torch.testing.assert_close(sparse[place].weight, dense[place].weight * mask)
    assert set(state) == set(dense.state_dict()), "the caller's dict is left alone"


def test_refuses_values_of_other_connections() -> None:
    net = sparse_net()
    other = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5))
    flipped = mask_of(net[0].weight).flip(0)
    pack(other[0], "weight", flipped)
    pack(other[4], "weight", mask_of(other[4].weight, structured=False))
    with pytest.raises(RuntimeError, match=r"0\.weight: keeps other connections"):
        other.load_state_dict(net.state_dict())


def test_a_copy_is_independent() -> None:
    net = sparse_net()
    twin = copy.deepcopy(net)
    with torch.no_grad():
        twin[0].parametrizations.weight.original.zero_()
    assert bool(net[0].weight.any())
    assert not bool(twin[0].weight.any())


def test_a_copy_can_be_unpacked_and_packed_alone() -> None:
    net, x = sparse_net().eval(), torch.randn(2, 3, 8, 8)
    wanted = net(x)
    twin, other = copy.deepcopy(net), copy.deepcopy(net)
    unpack(twin)
    pack(other[0], "bias", torch.arange(8) < 4)
    torch.testing.assert_close(net(x), wanted)
    torch.testing.assert_close(twin(x), wanted)
    assert type(net[0].bias) is nn.Parameter
    assert not other[0].bias[4:].any()
    unpack(other)
    torch.testing.assert_close(net(x), wanted)


def test_moves_to_meta_and_back() -> None:
    net, x = sparse_net(), torch.randn(2, 3, 8, 8)
    away = copy.deepcopy(net).to("meta")
    assert away(x.to("meta")).shape == (2, 5)
    away.to_empty(device="cpu").load_state_dict(net.state_dict(), assign=True)
    torch.testing.assert_close(away(x), net(x))


@pytest.mark.gpu
def test_trains_on_cuda() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    net = sparse_net().cuda()
    net(torch.randn(2, 3, 8, 8, device="cuda")).sum().backward()
    mask = next(packed_of(net[0]))[1].mask
    assert not bool(net[0].weight[~mask].any())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_any_dtype(dtype: torch.dtype) -> None:
    layer = nn.Linear(8, 8).to(dtype)
    pack(layer, "weight", mask_of(layer.weight))
    assert layer(torch.ones(1, 8, dtype=dtype)).dtype == dtype


def test_attention_weights_that_no_module_runs() -> None:
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    masks = {"in_proj_weight": mask_of(attention.in_proj_weight), "out_proj": mask_of(attention.out_proj.weight)}
    plain = copy.deepcopy(attention)
    with torch.no_grad():
        plain.in_proj_weight *= masks["in_proj_weight"]
        plain.out_proj.weight *= masks["out_proj"]
    pack(attention, "in_proj_weight", masks["in_proj_weight"])
    pack(attention.out_proj, "weight", masks["out_proj"])
    x = torch.randn(2, 5, 8)
    for mode in (True, False):
        attention.train(mode)
        plain.train(mode)
        torch.testing.assert_close(attention(x, x, x)[0], plain(x, x, x)[0])
    with torch.no_grad():
        torch.testing.assert_close(copy.deepcopy(attention)(x, x, x)[0], plain(x, x, x)[0])


def test_tied_weights_stay_tied() -> None:
    first, second = nn.Linear(6, 6), nn.Linear(6, 6)
    second.weight = first.weight
    net = nn.Sequential(first, second)
    mask = mask_of(first.weight)
    pack_shared([(first, "weight"), (second, "weight")], mask)
    assert len([p for p in net.parameters() if p.dim() == 2]) == 1
    net(torch.randn(3, 6)).sum().backward()
    with torch.no_grad():
        first.parametrizations.weight.original.mul_(2)
    torch.testing.assert_close(first.weight, second.weight)
    weight = first.weight.detach().clone()
    unpack(net)
    assert first.weight is second.weight
    torch.testing.assert_close(first.weight, nn.Parameter(weight))


def test_unpack_leaves_a_plain_module() -> None:
    net, x = sparse_net().eval(), torch.randn(2, 3, 8, 8)
    wanted = net(x)
    unpack(net)
    torch.testing.assert_close(net(x), wanted)
    assert type(net[0]) is nn.Conv2d
    assert set(net.state_dict()) >= {"0.weight", "4.weight"}
    assert not any("parametrizations" in key for key in net.state_dict())


def test_the_unit_is_the_longest_common_run() -> None:
    mask = mask_of(torch.zeros(8, 6, 3, 3))
    assert Packed(mask).unit == 9
    blocks = (torch.arange(64) // 4 % 3 == 0).view(1, 64).expand(16, 64)
    assert Packed(blocks.contiguous()).unit == 4
    assert Packed(mask_of(torch.zeros(8, 6, 3, 3), structured=False)).unit == 1
    for case in (mask, blocks.contiguous()):
        assert torch.equal(Packed(case).mask, case)


def test_refuses_what_cannot_be_packed() -> None:
    with pytest.raises(PlanError, match=r"mask of shape \(2, 2\) for a weight of shape \(3, 2\)"):
        pack(nn.Linear(2, 3), "weight", torch.ones(2, 2, dtype=torch.bool))
    with pytest.raises(PlanError, match="keeps nothing"):
        pack(nn.Linear(2, 3), "weight", torch.zeros(3, 2, dtype=torch.bool))
