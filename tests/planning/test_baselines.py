"""The plain alternatives at a plan's budgets."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

import advisor
from advisor.errors import PlanError
from advisor.network import Network
from advisor.planning.allocation import erk_scores, scaled
from advisor.planning.baselines import baselines
from tests.planning.test_build import timed


@pytest.mark.parametrize("kind", ["uniform", "erk"])
def test_meets_the_budgets_as_closely_as_it_can(digits: Network, kind: str) -> None:
    plan = advisor.plan(digits, budgets={"macs": "30%", "params": "40%"}, patterns=["channel"])
    found = baselines(digits, plan, kinds=[kind])
    assert found.reasons == {}
    baseline = found[kind]
    shares = [line.plan / line.budget for line in baseline.costs.values() if line.budget is not None]
    assert len(shares) == 2
    assert 0.9 < max(shares) <= 1.0  # the patterns' rounding leaves a little
    assert baseline.status == "baseline"
    assert math.isnan(baseline.bound)
    assert math.isnan(baseline.gap)
    assert baseline.objective >= plan.bound
    assert {layer.pattern for layer in baseline.layers} == {"dense", "channel"}
    assert baseline.layers[0].pattern == baseline.layers[-1].pattern == "dense"
    assert any(note.startswith(f"baseline {kind}: ") for note in baseline.notes)


def test_uniform_has_one_density_and_erk_its_shape(digits: Network) -> None:
    plan = advisor.plan(digits, budgets={"params": "20%"}, patterns=["channel"])
    found = baselines(digits, plan, kinds=["uniform", "erk"])
    assert len({layer.density for layer in found["uniform"].layers if layer.pattern == "channel"}) == 1
    inner = [layer for layer in found["erk"].layers if layer.pattern == "channel"]
    shapes = [layer.weight_shape for layer in inner]
    weights = [math.prod(shape) for shape in shapes]
    scale = inner[0].density * weights[0] / sum(shapes[0])
    assert [layer.density for layer in inner] == pytest.approx(scaled(erk_scores(shapes), weights, scale).tolist())


def test_a_budget_that_dense_meets_gives_dense(digits: Network) -> None:
    plan = advisor.plan(digits, budgets={"params": "100%"}, patterns=["channel"])
    found = baselines(digits, plan, kinds=["uniform", "erk"])
    assert all(layer.pattern == "dense" for kind in found.values() for layer in kind.layers)


def test_out_of_reach_is_a_reason_not_an_error(digits: Network) -> None:
    plan = advisor.plan(digits, budgets={"params": "8%"}, patterns=["channel"], include_ends=True)
    kept = baselines(digits, plan, kinds=["uniform"])
    assert "uniform" in kept
    lowest = advisor.plan(digits, budgets={"latency": "60%"}, patterns=["group"], profile=timed(digits, ("group",)))
    lines = {**lowest.costs, "macs": replace(lowest.costs["macs"], budget=1000.0)}
    found = baselines(digits, replace(lowest, costs=lines), kinds=["uniform"], profile=timed(digits, ("group",)))
    assert "uniform" not in found
    assert "uniform group reaches macs" in found.reasons["uniform"]
    assert "over the budget of 1.000 k" in found.reasons["uniform"]


def test_where_a_time_is_limited_a_masked_pattern_gives_way_to_group(digits: Network) -> None:
    profile = timed(digits, ("channel", "group"))
    plan = advisor.plan(digits, budgets={"latency": "70%"}, patterns=["group"], profile=profile)
    # a plan that mostly used channel and got its time from elsewhere
    layers = tuple(
        replace(layer, pattern="channel", parameters={}) if layer.pattern == "group" else layer for layer in plan.layers
    )
    found = baselines(digits, replace(plan, layers=layers), profile=profile, kinds=["uniform"])
    assert {layer.pattern for layer in found["uniform"].layers} == {"dense", "group"}


@pytest.mark.parametrize("kind", ["uniform", "erk"])
def test_with_kernels_a_channel_baseline_meets_a_time_itself(digits: Network, kind: str) -> None:
    profile = timed(digits, ("channel", "group"), have=True)
    plan = advisor.plan(digits, budgets={"latency": "60%"}, patterns=["channel"], profile=profile)
    found = baselines(digits, plan, profile=profile, kinds=[kind])
    baseline = found[kind]
    assert {layer.pattern for layer in baseline.layers} == {"dense", "channel"}
    line = baseline.costs["latency"]
    assert line.budget is not None
    assert 0.9 < line.plan / line.budget <= 1.0
    assert {layer.method for layer in baseline.layers} == {None, "direct"}


def test_a_time_that_a_kind_cannot_meet_is_traded_for_the_plans_arithmetic(digits: Network) -> None:
    profile = timed(digits, ("channel", "group", "width"))
    plan = advisor.plan(digits, budgets={"latency": "40%"}, patterns=["width"], profile=profile)
    out_of_reach = {**plan.costs, "latency": replace(plan.costs["latency"], budget=1e-6)}
    found = baselines(digits, replace(plan, costs=out_of_reach), profile=profile, kinds=["erk"])
    line = found["erk"].costs["latency"]
    assert line.budget is not None
    assert line.plan > line.budget
    assert found["erk"].costs["macs"].plan <= plan.costs["macs"].plan
    assert any("MACs instead" in note for note in found["erk"].notes)


def test_mistakes(digits: Network, residual: Network) -> None:
    plan = advisor.plan(digits, budgets={"params": "50%"}, patterns=["channel"])
    with pytest.raises(PlanError, match="unknown baseline 'unifrom'; did you mean 'uniform'"):
        baselines(digits, plan, kinds=["unifrom"])
    with pytest.raises(PlanError, match="belongs to another network"):
        baselines(residual, plan)
    free = replace(plan, costs={key: replace(line, budget=None) for key, line in plan.costs.items()})
    with pytest.raises(PlanError, match="has no budgets"):
        baselines(digits, free)


def test_without_a_profile_the_plans_arithmetic_stands_for_its_time(digits: Network) -> None:
    plan = advisor.plan(digits, budgets={"latency": "80%"}, patterns=["group"], profile=timed(digits, ("group",)))
    found = baselines(digits, plan, kinds=["uniform", "width"])
    assert set(found) == {"uniform", "width"}
    for baseline in found.values():
        assert baseline.costs["macs"].plan <= plan.costs["macs"].plan
        assert any(note.startswith("no profile: ") for note in baseline.notes)


def test_random_draws_follow_the_seed(digits: Network) -> None:
    plan = advisor.plan(digits, budgets={"params": "30%"}, patterns=["channel"])
    one, two = (baselines(digits, plan, kinds=["uniform"], seed=seed)["uniform"] for seed in (1, 2))
    assert one.seed == 1
    assert [layer.seed for layer in one.layers] != [layer.seed for layer in two.layers]


@pytest.mark.parametrize("kind", ["uniform", "erk"])
def test_what_is_asked_of_layers_holds_in_masked_baselines(digits: Network, kind: str) -> None:
    asked = {
        "pins": {"features.4": "dense", "features.12": "channel@0.4"},
        "min_density": {"features.8": 0.3},
    }
    plan = advisor.plan(digits, budgets={"params": "45%"}, patterns=["channel"], **asked)
    found = baselines(digits, plan, kinds=[kind], **asked)
    assert found.reasons == {}
    held = {layer.name: layer.option for layer in found[kind].layers}
    assert held["features.4"].pattern == "dense"
    assert (held["features.12"].pattern, held["features.12"].density) == ("channel", 0.4)
    assert held["features.8"].density >= 0.3
    line = found[kind].costs["params"]
    assert line.budget is not None
    assert line.plan <= line.budget
    free = baselines(digits, plan, kinds=[kind])[kind]
    assert {layer.name: layer.option for layer in free.layers} != held


def test_a_most_density_holds_where_the_budget_would_allow_more(digits: Network) -> None:
    plan = advisor.plan(digits, budgets={"params": "100%"}, patterns=["channel"], max_density={"features.8": 0.5})
    found = baselines(digits, plan, kinds=["uniform", "erk", "width"], max_density={"features.8": 0.5})
    assert all(found[kind].layer("features.8").density <= 0.5 + 1e-9 for kind in ("uniform", "erk", "width"))
    assert found["uniform"].layer("features.12").pattern == "dense"
    assert found["width"].layer("features.8").pattern == "width"


def test_width_leaves_alone_what_is_to_stay_wide(digits: Network) -> None:
    plan = advisor.plan(digits, budgets={"params": "60%"}, patterns=["width"], pins={"features.8": "dense"})
    found = baselines(digits, plan, kinds=["width"], pins={"features.8": "dense"})
    held = {layer.name: layer.option for layer in found["width"].layers}
    assert held["features.8"].pattern == "dense"
    assert held["features.4"].parameters["out"] == 1.0  # its outputs are what features.8 reads
    assert held["features.4"].parameters["in"] < 1.0
    line = found["width"].costs["params"]
    assert line.budget is not None
    assert 0.9 * line.budget < line.plan <= line.budget


def test_what_a_kind_cannot_do_for_a_layer_is_its_reason(digits: Network) -> None:
    plan = advisor.plan(digits, budgets={"params": "60%"}, patterns=["channel", "width"])
    asked = {"pins": {"features.8": "channel@0.5"}}
    found = baselines(digits, plan, kinds=["uniform", "width"], **asked)
    assert "uniform" in found
    assert found.reasons["width"] == "width: layer features.8, which is dense there, breaks pin channel@0.5"
    found = baselines(digits, plan, kinds=["uniform"], forbidden={"features.8": ["dense", "channel"]})
    assert "features.8: forbid dense,channel leaves channel no option" in found.reasons["uniform"]
    found = baselines(digits, plan, kinds=["width"], min_density={"features.8": 0.9})
    assert "breaks min_density 0.9" in found.reasons["width"]
    with pytest.raises(PlanError, match="unknown layer 'nobody'"):
        baselines(digits, plan, pins={"nobody": "dense"})
