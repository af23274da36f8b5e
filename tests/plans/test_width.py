"""Width in a plan: really narrower tensors that compute what the masked dense network computes."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch import nn

import advisor
from advisor.errors import PlanError
from advisor.plans.kept import with_kept
from advisor.plans.plan import Plan, PlanLayer, load_plan
from tests.plans.samples import SHAPE, UNSTRUCTURED, masked_copy, small
from tests.plans.test_apply import check

X = torch.randn(SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


class Joined(nn.Module):
    """A residual, a concatenation, a depthwise and a grouped layer, and a flattened end. 2 4 8 8 → 2 8."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.side = nn.Conv2d(8, 4, 1)
        self.mixed = nn.Conv2d(12, 16, 3, stride=2, groups=1)
        self.grouped = nn.Conv2d(16, 16, 1, groups=2)
        self.head = nn.Linear(16 * 16, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x).relu()
        x = x + self.depthwise(x)
        x = torch.cat([x, self.side(x).relu()], 1)
        x = self.mixed(nn.functional.pad(x, (0, 1, 0, 1))).relu()
        out: torch.Tensor = self.head(self.grouped(x).flatten(1))
        return out


def joined() -> nn.Module:
    torch.manual_seed(0)
    return Joined().double()


def planned(model: nn.Module, *, share: str = "35%", selection: str = "random") -> Plan:
    network = advisor.analyze(model, X)
    return advisor.plan(network, budgets={"params": share}, patterns=["width"], selection=selection)


@pytest.mark.parametrize("selection", ["random", "magnitude"])
@pytest.mark.parametrize("build", [small, joined])
def test_narrower_and_equal_to_the_masked_network(build: type[nn.Module], selection: str, tmp_path: Path) -> None:
    model = build()
    plan = planned(model, selection=selection)
    assert any(layer.pattern == "width" for layer in plan.layers)
    narrow = check(plan, model, X)
    assert sum(p.numel() for p in narrow.parameters()) == plan.costs["params"].plan
    assert advisor.analyze(narrow, X).macs == plan.costs["macs"].plan
    plan.save(tmp_path / "plan.json")
    loaded = load_plan(tmp_path / "plan.json")
    assert loaded == plan
    assert all(torch.equal(mask, loaded.masks()[name]) for name, mask in plan.masks().items())
    fast, again = (p.apply(model, for_inference=True) for p in (plan, loaded))
    torch.testing.assert_close(fast(X), masked_copy(plan, model).eval()(X), rtol=0, atol=1e-10)
    torch.testing.assert_close(again(X), fast(X), rtol=0, atol=0)


@pytest.mark.parametrize("build", [small, joined])
def test_what_was_trained_can_be_deployed(build: type[nn.Module]) -> None:
    plan = planned(build())
    narrow = plan.apply(build())
    optimiser = torch.optim.SGD(narrow.parameters(), lr=0.01)
    narrow(X).square().sum().backward()
    optimiser.step()
    for known in (plan, dataclasses.replace(plan, network=None)):
        fast = known.apply(narrow, for_inference=True)
        torch.testing.assert_close(fast(X), narrow.eval()(X), rtol=0, atol=1e-10)
        assert not any(isinstance(child, nn.BatchNorm2d) for child in fast.modules())
    with pytest.raises(PlanError, match="under a plan already"):
        plan.apply(narrow)


def test_with_masked_layers_beside() -> None:
    model = small()
    network = advisor.analyze(model, X)
    plan = planned(model, share="50%")
    layers = tuple(
        PlanLayer.of(network.layer(layer.name), UNSTRUCTURED, seed=3) if layer.pattern == "dense" else layer
        for layer in plan.layers
    )
    assert {layer.pattern for layer in layers} == {"width", "unstructured"}
    check(dataclasses.replace(plan, layers=layers), model, X)


def test_channels_are_found_where_a_plan_does_not_say() -> None:
    model = joined()
    plan = planned(model)
    layers = tuple(dataclasses.replace(layer, kept_inputs=(), kept_outputs=()) for layer in plan.layers)
    silent = dataclasses.replace(plan, layers=layers)
    assert with_kept(silent) == plan
    lost = dataclasses.replace(silent, network=None)
    for name, mask in plan.masks().items():
        assert torch.equal(silent.masks()[name], mask)
        assert torch.equal(lost.masks(model)[name], mask)
    torch.testing.assert_close(lost.apply(model)(X), plan.apply(model)(X), rtol=0, atol=0)


def test_channels_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    model = joined()
    planned(model).save(tmp_path / "plan.json")
    document = json.loads((tmp_path / "plan.json").read_text())
    layer = next(item for item in document["layers"] if "kept_inputs" in item and item["in"] < 1)
    first, end = layer["kept_inputs"][0]
    layer["kept_inputs"] = [[first + 1, end + 1], *layer["kept_inputs"][1:]]
    (tmp_path / "plan.json").write_text(json.dumps(document))
    with pytest.raises(PlanError, match=f"layer {layer['name']} ") as caught:
        load_plan(tmp_path / "plan.json").apply(model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("kept_inputs", [[0, 1000]], "does not ascend within"),
        ("kept_outputs", [[0, 1]], "channels, expected"),
        ("in_channels", 1000, "outside"),
        ("narrowed_groups", 7, "do not fit 7 groups"),
        ("in", 1.5, "maximum"),
        ("rounding", "floor", "not one of"),
    ],
)
def test_hostile_widths(tmp_path: Path, field: str, value: object, message: str) -> None:
    planned(joined()).save(tmp_path / "plan.json")
    document = json.loads((tmp_path / "plan.json").read_text())
    next(item for item in document["layers"] if item["pattern"] == "width" and item["out"] < 1)[field] = value
    (tmp_path / "plan.json").write_text(json.dumps(document))
    with pytest.raises(PlanError, match=message):
        load_plan(tmp_path / "plan.json")
