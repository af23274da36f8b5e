"""A plan is applied to the network that it was made for, and to no other."""

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

import advisor
from advisor.errors import PlanError
from advisor.plans.match import check_model, network_for
from advisor.plans.plan import CostLine, load_plan
from tests.plans.samples import CHANNEL, SHAPE, Small, plan_of, small, small_plan

X = torch.zeros(SHAPE, dtype=torch.float64)


class Wider(Small):
    def __init__(self) -> None:
        super().__init__()
        self.point = nn.Conv2d(8, 12, 1)


class Renamed(Small):
    def __init__(self) -> None:
        super().__init__()
        self.above = self.up
        del self.up


class Regrouped(Small):
    def __init__(self) -> None:
        super().__init__()
        self.grouped = nn.Conv2d(16, 16, 3, stride=2, groups=4)


class Turned(Small):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Conv2d(8, 16, 2)


class Deeper(Small):
    def __init__(self) -> None:
        super().__init__()
        self.more = nn.Conv2d(8, 8, 1)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Wider(), r"layer point has a weight of shape \(12, 8, 1, 1\), expected \(8, 8, 1, 1\)"),
        (Renamed(), r"layer up needs a parameter 'up\.weight', the module has none of that name"),
        (Regrouped(), "layer grouped has 4 groups, expected 2"),
        (Turned(), "layer up is a Conv2d, expected a conv_transpose2d"),
        (Deeper(), r"it was made for 1,592 parameters, the module has 1,664"),
        (nn.Linear(2, 2), r"layer stem\.0 needs a parameter"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_the_first_difference_is_named(model: nn.Module, message: str) -> None:
    plan = small_plan()
    for use in (plan.apply, plan.masks):
        with pytest.raises(PlanError, match=message) as caught:
            use(model)
        assert "belongs to another network" in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("given", [None, "torchvision:resnet18", nn.Linear, torch.zeros(2)])
def test_what_is_no_module_is_refused(given: object) -> None:
    plan = small_plan()
    with pytest.raises(PlanError, match=r"expected a torch\.nn\.Module"):
        plan.apply(given)  # type: ignore[arg-type]
    if given is not None:  # masks need no module
        with pytest.raises(PlanError, match=r"expected a torch\.nn\.Module"):
            plan.masks(given)  # type: ignore[arg-type]


def test_an_applied_module_is_not_thinned_out_twice() -> None:
    plan = small_plan()
    applied = plan.apply(small())
    with pytest.raises(PlanError, match="under a plan already; pass the dense one, or for_inference=True"):
        plan.apply(applied)
    with pytest.raises(PlanError, match=r"layer stem\.0 of the module has other connections than the plan"):
        small_plan(seed=1).apply(applied, for_inference=True)
    with pytest.raises(PlanError, match=r"layer stem\.0 has a weight of shape \(4, 3, 3, 4\)"):
        plan.masks(applied)


def test_order_and_number_of_layers_are_checked_where_the_graph_matters() -> None:
    class Order(nn.Module):
        def __init__(self, swapped: bool) -> None:
            super().__init__()
            self.a, self.b, self.norm = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
            self.swapped = swapped

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.a(self.norm(self.b(x))) if self.swapped else self.b(self.norm(self.a(x)))
            return out

    class Once(Order):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.norm(self.a(x))
            return out

    x = torch.zeros(1, 4, 3, 3)
    plan = dataclasses.replace(plan_of(advisor.analyze(Order(False), x), {"a": CHANNEL}), network=None)
    with pytest.raises(PlanError, match="its layer a stands where the module runs b"):
        plan.apply(Order(True), for_inference=True)
    with pytest.raises(PlanError, match="it has 2 layers, the module runs 1"):
        plan.apply(Once(False), for_inference=True)


def test_the_planners_analysis_is_used_where_it_fits() -> None:
    plan, model = small_plan(), small(4)
    assert network_for(plan, plan.network.module) is plan.network
    assert network_for(plan, model) is plan.network
    strided = copy.deepcopy(model)
    strided.point.dilation = (2, 2)
    assert network_for(plan, strided) is not plan.network
    assert network_for(dataclasses.replace(plan, network=None), model).input_shapes == (SHAPE,)


def test_inputs_that_the_module_does_not_take(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.BatchNorm1d(3)).eval()
    tokens = torch.zeros(2, 3, dtype=torch.long)
    plan = plan_of(advisor.analyze(model, tokens), {})
    plan.save(tmp_path / "plan.json")
    loaded = load_plan(tmp_path / "plan.json")
    with pytest.raises(PlanError, match="pass example_inputs that the module takes") as caught:
        loaded.apply(model, for_inference=True)
    assert "\n" not in str(caught.value)
    torch.testing.assert_close(loaded.apply(model, for_inference=True, example_inputs=tokens)(tokens), model(tokens))
    torch.testing.assert_close(plan.apply(model, for_inference=True)(tokens), model(tokens))


def test_plans_without_costs_are_checked_by_their_layers() -> None:
    plan = small_plan(costs={})
    check_model(plan, small())
    check_model(small_plan(costs={"macs": CostLine(dense=2.0, plan=1.0)}), Deeper())
