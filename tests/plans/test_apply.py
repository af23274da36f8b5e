"""Modules under a plan compute what the masked dense network computes, and train, save and move like any module."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import advisor
from advisor.errors import PlanError
from advisor.patterns.option import Option
from advisor.plans.apply import apply_plan
from advisor.plans.plan import Plan, load_plan
from advisor.runtime import native
from advisor.runtime.packed import packed_of
from advisor.runtime.sparse import Sparse, SparseConv, SparseLinear
from tests.plans.samples import BLOCK, CHANNEL, GROUP, MASKED, SHAPE, masked_copy, plan_of, small, small_plan

NEEDS_KERNELS = pytest.mark.skipif(not native.available(), reason=native.why_not() or "compiled")
X = torch.randn(SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def check(plan: Plan, model: nn.Module, *inputs: torch.Tensor) -> nn.Module:
    """Equal outputs and gradients in both modes, and the given module untouched."""
    before = copy.deepcopy(model.state_dict())
    sparse, dense = plan.apply(model), masked_copy(plan, model)
    assert sparse.training == model.training
    for mode in (True, False):
        outputs = [copy.deepcopy(net).train(mode)(*inputs) for net in (sparse, dense)]
        torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=1e-10)
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in before.items())
    assert not {id(p) for p in model.parameters()} & {id(p) for p in sparse.parameters()}
    return sparse


def test_equals_the_masked_dense_network() -> None:
    plan, model = small_plan(), small()
    sparse = check(plan, model, X)
    assert isinstance(sparse.stem[0], SparseConv)
    assert isinstance(sparse.grouped, SparseConv)
    assert [name for name, _ in packed_of(sparse.up)] == ["weight"]
    assert isinstance(sparse.point, SparseConv)
    assert isinstance(sparse.head, SparseLinear)
    applied = apply_plan(plan, model)
    assert set(applied.methods.values()) == {"packed"}, "nothing here has a kernel for float64"
    words = "layers stem.0, grouped, point and 1 more run by 'packed' instead of 'direct': the kernels do not take"
    assert [note.startswith(words) for note in applied.notes] == [True] * native.available()


@NEEDS_KERNELS
def test_runs_the_kernels_in_float32() -> None:
    plan, model, x = small_plan(), small(dtype=torch.float32), X.float()
    applied = apply_plan(plan, model)
    assert applied.methods == {
        "stem.0": "direct",
        "grouped": "direct",
        "up": "packed",
        "point": "direct",
        "head": "direct",
    }
    assert applied.notes == ()
    for mode in (True, False):
        outputs = [copy.deepcopy(net).train(mode)(x) for net in (applied.module, masked_copy(plan, model))]
        torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-5, atol=1e-5)
    held = sum(p.numel() for p in applied.module.parameters())
    removed = sum(int((~mask).sum()) for mask in plan.masks().values())
    assert held == sum(p.numel() for p in model.parameters()) - removed, "memory falls with density"


@pytest.mark.parametrize("name", MASKED)
@pytest.mark.parametrize("dtype", [torch.float64, pytest.param(torch.float32, marks=NEEDS_KERNELS)])
def test_every_pattern_on_one_tap_reads_lists(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(8, 16, 1, groups=2), nn.Flatten(2), nn.Conv1d(16, 8, 1), nn.Linear(64, 8))
    model = model.to(dtype)
    x = torch.randn(2, 8, 8, 8, dtype=dtype)
    plan = plan_of(advisor.analyze(model, x), {"0": MASKED[name], "2": MASKED[name], "3": MASKED[name]})
    sparse, dense = plan.apply(model), masked_copy(plan, model)
    assert [isinstance(sparse[i], Sparse) for i in (0, 2, 3)] == [True] * 3
    torch.testing.assert_close(sparse(x), dense(x), rtol=1e-5, atol=1e-6)
    for i in (0, 2, 3):
        assert sparse[i].weight.numel() == int(plan.masks()[str(i)].sum())
        assert sparse[i].block == {"group": 4, "block": 2}.get(name, 1)


def test_the_recorded_method_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, model = small_plan(), small(dtype=torch.float32)
    x = X.float()

    def methods(recorded: str) -> tuple[dict[str, str], nn.Module, tuple[str, ...]]:
        able = ("stem.0", "grouped") if recorded == "gather" else ("stem.0", "grouped", "point", "head")
        layers = [replace(item, method=recorded if item.name in able else "packed") for item in plan.layers]
        applied = apply_plan(replace(plan, layers=tuple(layers)), model)
        torch.testing.assert_close(applied.module(x), masked_copy(plan, model)(x), rtol=1e-4, atol=1e-5)
        return dict(applied.methods), applied.module, applied.notes

    assert set(methods("packed")[0].values()) == {"packed"}
    assert not any(isinstance(child, Sparse) for child in methods("dense")[1].modules())
    gathering, _, _ = methods("gather")
    assert [gathering[name] for name in ("stem.0", "grouped", "point")] == ["gather", "gather", "packed"]
    direct, ready, notes = methods("direct")
    assert direct["stem.0"] == ("direct" if native.available() else "packed")
    monkeypatch.setattr(native, "available", lambda: False)
    monkeypatch.setattr(native, "why_not", lambda: "not built")
    missing, bare, notes = methods("direct")
    assert set(missing.values()) == {"packed"}
    assert any("sparse kernels that the plan counts on are missing (not built)" in note for note in notes)
    bare.load_state_dict(ready.state_dict())  # the same storage on every machine


@pytest.mark.parametrize("name", MASKED)
def test_every_masked_pattern_on_every_kind_of_layer(name: str) -> None:
    model = small()
    network = advisor.analyze(model, X)
    legal = {
        layer.name: MASKED[name]
        for layer in network.sparsifiable
        if not advisor.patterns.base.pattern(name).problem(layer, MASKED[name])
    }
    assert len(legal) == 5
    check(plan_of(network, legal), model, X)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv1d(8, 16, 5, stride=2, groups=2), (2, 8, 13)),
        (nn.Conv1d(8, 8, 1, bias=False), (3, 8, 7)),
        (nn.Conv2d(8, 16, 3, padding="same", padding_mode="reflect"), (2, 8, 6, 6)),
        (nn.Conv2d(16, 24, 1, stride=2, groups=2), (2, 16, 7, 7)),
        (nn.Conv3d(4, 8, (1, 3, 2), groups=1), (1, 4, 3, 5, 5)),
        (nn.Conv3d(8, 8, 1, groups=2), (2, 8, 3, 4, 5)),
        (nn.Linear(10, 12), (2, 5, 10)),
        (nn.Linear(7, 8, bias=False), (1, 7)),
    ],
    ids=str,
)
@pytest.mark.parametrize("density", [0.01, 0.4, 1.0])
def test_a_group_stores_what_its_mask_keeps(layer: nn.Module, shape: tuple[int, ...], density: float) -> None:
    model = nn.Sequential(copy.deepcopy(layer).double())
    x = torch.randn(shape, dtype=torch.float64)
    option = Option(pattern="group", density=density, parameters={"block": 4})
    plan = plan_of(advisor.analyze(model, x), {"0": option}, seed=5)
    sparse = check(plan, model, x)
    assert isinstance(sparse[0], Sparse) == (density <= 0.5 and not isinstance(layer, nn.Conv3d))
    held = sparse[0].weight if isinstance(sparse[0], Sparse) else sparse[0].parametrizations.weight.original
    assert held.numel() == int(plan.masks()["0"].sum())


def test_wide_groups_gather_where_no_kernel_is() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv3d(4, 16, 3, padding=1), nn.Conv3d(16, 32, 1)).double()
    x = torch.randn(2, 4, 5, 5, 5, dtype=torch.float64)
    option = Option(pattern="group", density=0.75, parameters={"block": 16})
    plan = plan_of(advisor.analyze(model, x), {"0": option, "1": option})
    check(plan, model, x)
    for fast in (False, True):
        applied = apply_plan(plan, model, for_inference=fast)
        assert applied.methods == {"0": "gather", "1": "gather"}
        assert applied.notes == ()


@pytest.mark.parametrize("selection", ["random", "magnitude"])
def test_kept_weights_keep_their_values(selection: str) -> None:
    plan, model = small_plan(selection=selection), small()
    state = plan.apply(model, for_inference=False)
    for layer in plan.layers:
        module = state.get_submodule(layer.name)
        weight = module.dense_weight() if hasattr(module, "dense_weight") else module.weight
        mask = plan.masks()[layer.name]
        assert torch.equal(weight[mask], model.get_parameter(layer.weight)[mask])
        assert not weight[~mask].any()


def test_for_inference_folds_and_bakes() -> None:
    plan, model = small_plan(), small(dtype=torch.float32).eval()
    applied = apply_plan(plan, model, for_inference=True)
    fast = applied.module
    assert not fast.training
    assert not any(isinstance(child, nn.BatchNorm2d) for child in fast.modules())
    assert not any("parametrizations" in name for name, _ in fast.named_parameters())
    assert isinstance(fast.grouped, SparseConv) == native.available()
    assert type(fast.up) is nn.ConvTranspose2d
    assert set(applied.methods.values()) == ({"direct", "dense"} if native.available() else {"dense"})
    with torch.no_grad():
        torch.testing.assert_close(fast(X.float()), masked_copy(plan, model)(X.float()), rtol=1e-4, atol=1e-5)


def test_for_inference_without_the_planners_analysis(tmp_path: Path) -> None:
    small_plan().save(tmp_path / "plan.json")
    plan, model = load_plan(tmp_path / "plan.json"), small().eval()
    assert plan.network is None
    for inputs in (None, X):
        fast = plan.apply(model, for_inference=True, example_inputs=inputs)
        torch.testing.assert_close(fast(X), masked_copy(plan, model)(X), rtol=0, atol=1e-10)


def train(net: nn.Module, optimiser: torch.optim.Optimizer, steps: int = 5) -> list[float]:
    losses = []
    for step in range(steps):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(net(X), torch.arange(2) + step % 2)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize(
    "build",
    [
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True),
        lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.5),
        lambda p: torch.optim.RMSprop(p, lr=0.1, momentum=0.9, weight_decay=0.1, centered=True),
    ],
    ids=["sgd", "adamw", "rmsprop"],
)
def test_masked_weights_stay_zero(build: Callable[[Any], torch.optim.Optimizer]) -> None:
    plan = small_plan()
    net = plan.apply(small())
    before = copy.deepcopy(net.state_dict())
    train(net, build(net.parameters()))
    for layer in plan.layers:
        module = net.get_submodule(layer.name)
        weight = module.dense_weight() if hasattr(module, "dense_weight") else module.weight
        mask = plan.masks()[layer.name]
        assert torch.equal(weight[~mask], torch.zeros_like(weight[~mask]))
        assert weight[mask].all()
    moved = [key for key, value in net.state_dict().items() if not torch.equal(value, before[key])]
    assert len(moved) >= 10, "it must have trained"


def test_saves_loads_copies_and_goes_on(tmp_path: Path) -> None:
    plan = small_plan()
    net = plan.apply(small(0))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    train(net, optimiser)
    torch.save({"net": net.state_dict(), "optimiser": optimiser.state_dict()}, tmp_path / "at.pt")
    other = plan.apply(small(1))
    again = torch.optim.SGD(other.parameters(), lr=0.05, momentum=0.9)
    state = torch.load(tmp_path / "at.pt", weights_only=True)
    other.load_state_dict(state["net"])
    again.load_state_dict(state["optimiser"])
    twin = copy.deepcopy(net)
    assert train(net, optimiser) == train(other, again)
    assert not torch.equal(twin.head.weight, net.head.weight)
    dense = small(3)
    other.load_state_dict(dense.state_dict())
    torch.testing.assert_close(other.eval()(X), masked_copy(plan, dense).eval()(X), rtol=0, atol=1e-10)


def test_what_was_trained_can_be_deployed() -> None:
    plan = small_plan()
    net = plan.apply(small())
    train(net, torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9))
    before = copy.deepcopy(net.state_dict())
    applied = apply_plan(plan, net, for_inference=True)
    assert applied.methods["grouped"] == "dense"
    assert type(applied.module.grouped) is nn.Conv2d, "in float64 no kernel is faster than the dense one"
    assert not any(isinstance(child, nn.BatchNorm2d) for child in applied.module.modules())
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in before.items())
    torch.testing.assert_close(applied.module(X), net.eval()(X), rtol=0, atol=1e-10)
    alone = plan_of(advisor.analyze(nn.Sequential(nn.Conv2d(4, 8, 3)), X.float()), {"0": GROUP})
    alone = by_hand(alone, name="", weight="weight")
    whole = alone.apply(nn.Conv2d(4, 8, 3).double())
    torch.testing.assert_close(alone.apply(whole, for_inference=True)(X), whole(X), rtol=0, atol=1e-12)


def test_compiles() -> None:
    net = small_plan().apply(small())
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(X), net(X), rtol=0, atol=1e-12)


def test_on_meta_and_in_half_precision() -> None:
    plan = small_plan()
    away = plan.apply(small().to("meta"))
    assert away(X.to("meta")).shape == (2, 8)
    ready = plan.apply(small(5))
    away.to_empty(device="cpu").load_state_dict(ready.state_dict(), assign=True)
    torch.testing.assert_close(away.eval()(X), ready.eval()(X))
    half = plan.apply(small(dtype=torch.bfloat16), for_inference=True)
    assert half(X.bfloat16()).dtype == torch.bfloat16


@pytest.mark.gpu
def test_on_cuda() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    plan, model = small_plan(), small().cuda()
    for fast in (False, True):
        net = plan.apply(model, for_inference=fast).eval()
        assert {t.device.type for t in (*net.parameters(), *net.buffers())} == {"cuda"}
        torch.testing.assert_close(net(X.cuda()), masked_copy(plan, model).eval()(X.cuda()))


class Attention(nn.Module):
    """Weights that no module of their own runs. B T C → B T C."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.mix = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.mix(self.attention(x, x, x, need_weights=False)[0])
        return out


def test_attention_runs_masked_where_no_module_can_be_replaced() -> None:
    torch.manual_seed(0)
    model = Attention().double()
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    network = advisor.analyze(model, x)
    plan = plan_of(network, {layer.name: GROUP for layer in network.sparsifiable})
    assert plan.layer("attention").weight == "attention.in_proj_weight"
    assert plan.layer("attention").weight_shape == (24, 8)
    sparse = check(plan, model, x)
    assert isinstance(sparse.mix, SparseLinear)
    methods = apply_plan(plan, model).methods
    assert methods == {"attention": "packed", "attention.out_proj": "packed", "mix": "packed"}
    torch.testing.assert_close(plan.apply(model, for_inference=True)(x), masked_copy(plan, model).eval()(x))


def test_parameters_that_stand_in_lists_and_in_the_network_itself() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.row = nn.ParameterList([nn.Parameter(torch.randn(8, 4)), nn.Parameter(torch.randn(8, 8))])
            self.last = nn.Parameter(torch.randn(8, 8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for weight in self.row:
                x = nn.functional.linear(x, weight).relu()
            return nn.functional.linear(x, self.last)

    torch.manual_seed(0)
    model, x = Functional().double(), torch.randn(3, 4, dtype=torch.float64)
    network = advisor.analyze(model, x)
    plan = plan_of(network, {layer.name: GROUP for layer in network.sparsifiable})
    assert {layer.weight for layer in plan.layers} == {"row.0", "row.1", "last"}
    check(plan, model, x)
    assert set(apply_plan(plan, model).methods.values()) == {"packed"}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_the_fused_encoder_is_left_where_its_linear_layers_are_sparse() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = nn.TransformerEncoder(layer, 2).eval()
    x = torch.randn(2, 5, 8)
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    network = advisor.analyze(model, x)
    plan = plan_of(network, {layer.name: GROUP for layer in network.sparsifiable})
    sparse, dense = plan.apply(model), masked_copy(plan, model)
    assert isinstance(sparse.layers[0].linear1, SparseLinear)
    with torch.no_grad():  # only then does torch take its fused path
        torch.testing.assert_close(sparse(x), dense(x))
        outputs = [net(x, src_key_padding_mask=padding)[~padding] for net in (sparse, dense)]
        torch.testing.assert_close(*outputs)


class Padded(nn.Conv2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(nn.functional.pad(x, (1, 1, 1, 1)))


class Listed(nn.Module):
    """Keeps a list of its own beside the registered modules."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 1)
        self.order = [self.first, self.second]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.order:
            x = layer(x)
        return x


def by_hand(plan: Plan, **changes: Any) -> Plan:
    """The plan with every layer's fields changed, as someone may write it into a file."""
    return replace(plan, layers=tuple(replace(layer, **changes) for layer in plan.layers))


@pytest.mark.parametrize(
    ("model", "reason"),
    [(nn.Sequential(Padded(4, 8, 3)), "Padded has a forward of its own"), (Listed(), "a reference of its own to it")],
    ids=["own forward", "own list"],
)
def test_what_cannot_be_replaced_runs_masked_and_says_so(model: nn.Module, reason: str) -> None:
    model = model.double()
    network = advisor.analyze(model, X)
    plan = by_hand(plan_of(network, {layer.name: GROUP for layer in network.sparsifiable}), is_module=True)
    check(plan, model, X)
    applied = apply_plan(plan, model)
    assert set(applied.methods.values()) == {"packed"}
    (note,) = applied.notes
    assert "run masked instead of sparse" in note
    assert reason in note
    assert all(layer.name in note for layer in plan.layers)


def test_one_module_under_two_names_and_as_the_whole_network() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(4, 4, 3, padding=1)
            self.b = self.a

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.b(self.a(x).relu())
            return out

    model = Twice().double()
    layer = advisor.analyze(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1)), X.float())
    single = nn.Conv2d(4, 4, 3, padding=1).double()
    for option in (GROUP, CHANNEL):
        plan = by_hand(plan_of(layer, {"0": option}), name="a", weight="a.weight")
        sparse = check(plan, model, X)
        assert sparse.a is sparse.b
        alone = by_hand(plan_of(layer, {"0": option}), name="", weight="weight")
        check(alone, single, X)
    assert isinstance(by_hand(plan_of(layer, {"0": GROUP}), name="", weight="weight").apply(single), SparseConv)


def test_tied_weights_stay_tied() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(8, 4)
            self.head = nn.Linear(4, 8, bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.head(self.embedding(x))
            return out

    model = Tied().double()
    tokens = torch.arange(6).view(2, 3)
    layer = advisor.analyze(nn.Sequential(nn.Linear(4, 8, bias=False)), torch.zeros(1, 4))
    for option in (GROUP, BLOCK):
        plan = by_hand(plan_of(layer, {"0": option}), name="head", weight="head.weight")
        sparse = check(plan, model, tokens)
        assert len(list(sparse.parameters())) == 1
        assert torch.equal(sparse.head.weight, sparse.embedding.weight)
        fast = plan.apply(model, for_inference=True)
        assert fast.head.weight is fast.embedding.weight


def test_frozen_parameters_and_hooks_go_along() -> None:
    model, seen = small(), []
    model.stem[0].weight.requires_grad_(False)
    model.up.weight.requires_grad_(False)
    model.stem[0].register_forward_hook(lambda *_: seen.append(1))
    sparse = small_plan().apply(model)
    assert not sparse.stem[0].weight.requires_grad
    assert not sparse.up.parametrizations.weight.original.requires_grad
    sparse(X)
    assert seen == [1]


def test_a_module_that_cannot_be_copied_is_refused() -> None:
    class Stubborn(type(small())):  # type: ignore[misc]
        def __deepcopy__(self, memo: Any) -> Any:
            raise RuntimeError("no copies\nof me")

    torch.manual_seed(0)
    with pytest.raises(PlanError, match=r"Stubborn cannot be copied \(no copies of me\)"):
        small_plan().apply(Stubborn().double())


@NEEDS_KERNELS
def test_for_inference_fuses_what_follows() -> None:
    plan, model, x = small_plan(), small(dtype=torch.float32).eval(), X.float()
    fast = plan.apply(model, for_inference=True)
    assert fast.stem[0].activation == "relu"
    assert isinstance(fast.stem[2], nn.Identity)
    modules = dict(model.named_modules()) | {"": None}
    assert set(dict(fast.named_modules())) == set(modules), "every name stays"
    with torch.no_grad():
        torch.testing.assert_close(fast(x), masked_copy(plan, model)(x), rtol=1e-4, atol=1e-5)
    with pytest.raises(PlanError, match="made for inference already, with activations fused into its layers"):
        plan.apply(fast, for_inference=True)
