"""Plans with narrower layers: what the table says is what the narrowed module holds and does."""

from __future__ import annotations

import pytest

import advisor
from advisor.devices.predicting.compose import predict_options
from advisor.network import Network
from advisor.planning.baselines import baselines
from advisor.planning.build import build_table
from advisor.planning.menu.options import menu
from advisor.planning.sensitivity import kept_share
from advisor.plans.plan import Plan
from tests.devices.synthetic import all_executions, profile_of


def check_against_module(plan: Plan, network: Network) -> None:
    assert network.module is not None
    applied = advisor.analyze(plan.apply(network.module), network.input_shapes[0])
    found = {key: line.plan for key, line in plan.costs.items()}
    assert found["params"] == applied.params
    assert found["macs"] == applied.macs
    assert found["weight_memory"] == applied.weight_bytes
    assert found["peak_memory"] == applied.weight_bytes + applied.peak_activation_bytes


@pytest.mark.parametrize("rounding", ["ceil", "multiple8"])
@pytest.mark.parametrize(
    "budgets", [{"macs": "30%"}, {"params": "25%", "peak_memory": "60%"}, {"peak_memory": "45%", "energy": "60%"}]
)
@pytest.mark.parametrize("name", ["digits", "residual"])
def test_costs_of_a_width_plan_are_those_of_the_narrowed_module(
    name: str, budgets: dict[str, str], rounding: str, request: pytest.FixtureRequest
) -> None:
    network: Network = request.getfixturevalue(name)
    plan = advisor.plan(network, budgets=budgets, patterns=["width"], rounding=rounding)
    for line in plan.costs.values():
        assert line.budget is None or line.plan <= line.budget
    assert any(layer.pattern == "width" for layer in plan.layers)
    check_against_module(plan, network)


def test_coupled_layers_share_their_factor(residual: Network) -> None:
    plan = advisor.plan(residual, budgets={"macs": "40%"}, patterns=["width"])
    sides = {layer.name: layer.parameters for layer in plan.layers if layer.pattern == "width"}
    outputs = {sides[name]["out_channels"] for name in ("stem", "outer", "grouped")}  # they are added to each other
    assert len(outputs) == 1
    assert sides["inner"]["in_channels"] == sides["classifier"]["in_channels"] == outputs.pop()
    assert sides["inner"]["out_channels"] == sides["outer"]["in_channels"]
    assert sides["classifier"]["out_channels"] == 10


def test_channels_are_kept_by_their_weights_where_asked(digits: Network) -> None:
    plan = advisor.plan(
        digits, budgets={"params": "30%"}, patterns=["width"], selection="magnitude", sensitivity="magnitude"
    )
    first = advisor.plan(digits, budgets={"params": "30%"}, patterns=["width"], sensitivity="magnitude")
    assert [layer.option for layer in plan.layers] == [layer.option for layer in first.layers]
    kept = [layer.kept_outputs for layer in plan.layers if layer.pattern == "width"]
    assert kept != [layer.kept_outputs for layer in first.layers if layer.pattern == "width"]
    assert plan.chosen is None  # the plan itself holds the channels
    check_against_module(plan, digits)


def test_patterns_mix_within_one_plan(residual: Network) -> None:
    plan = advisor.plan(residual, budgets={"params": "30%", "peak_memory": "75%"}, exchange={"width": 1.2})
    used = {layer.pattern for layer in plan.layers}
    assert "width" in used  # nothing else lowers activations
    assert plan.gap <= 1e-3
    assert all(line.budget is None or line.plan <= line.budget for line in plan.costs.values())


def test_losses_of_width_are_those_of_the_kept_share(digits: Network) -> None:
    table = build_table(digits, menu(digits, ("width",))).table
    scores = {layer.name: sum(layer.weight_shape) for layer in digits.sparsifiable}
    from math import log

    for name, options, column in zip(table.layers, table.options, table.loss, strict=True):
        share = scores[name] / sum(scores.values())
        expected = [share * -log(kept_share(digits.layer(name), option)) for option in options]
        assert column.tolist() == pytest.approx(expected)


def test_latency_of_narrowed_layers_is_the_profiles_own_prediction(residual: Network) -> None:
    from dataclasses import replace

    from tests.devices.synthetic import SETTINGS

    choices = menu(residual, ("width", "group"))
    options = {name: tuple(found) for name, found in choices.options.items()}
    profile = profile_of(
        residual, all_executions(residual, options).values(), settings=replace(SETTINGS, batch=2), rest=0.5
    )
    plan = advisor.plan(residual, budgets={"latency": "60%"}, profile=profile, patterns=["width", "group"])
    predicted = predict_options(residual, profile, {layer.name: layer.option for layer in plan.layers})
    assert plan.costs["latency"].plan == pytest.approx(predicted.latency_ms)
    assert plan.costs["latency"].plan <= 0.6 * plan.costs["latency"].dense


def test_width_baseline_has_one_factor(residual: Network) -> None:
    plan = advisor.plan(residual, budgets={"macs": "40%", "params": "50%"}, patterns=["channel"])
    baseline = baselines(residual, plan, kinds=["width"])["width"]
    factors = {layer.parameters["out"] for layer in baseline.layers if layer.name != "classifier"}
    assert len(factors) == 1
    assert all(line.budget is None or line.plan <= line.budget for line in baseline.costs.values())
    assert max(line.plan / line.budget for line in baseline.costs.values() if line.budget is not None) > 0.85
    check_against_module(baseline, residual)
