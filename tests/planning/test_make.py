"""`advisor.plan` on small real networks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import advisor
from advisor.devices.predicting.compose import predict_latency
from advisor.devices.profile import Profile
from advisor.errors import AdvisorError, BudgetError, PlanError
from advisor.network import Network
from advisor.patterns.base import layer_seed
from advisor.patterns.option import DENSE, Option
from advisor.planning.assemble import Quality, Style, assemble
from advisor.planning.build import build_table
from advisor.planning.make import load_exchange
from advisor.planning.menu.options import with_width
from advisor.planning.sensitivity import weight_of
from advisor.plans.plan import load_plan
from tests.planning.test_build import timed


def test_a_plan_meets_every_budget_and_proves_its_gap(digits: Network) -> None:
    plan = advisor.plan(digits, budgets={"macs": "30%", "params": "100k"}, patterns=["channel", "group"])
    assert plan.costs["macs"].plan <= plan.costs["macs"].budget == 0.3 * digits.macs  # type: ignore[operator]
    assert plan.costs["params"].plan <= plan.costs["params"].budget == 1e5  # type: ignore[operator]
    assert plan.costs["params"].dense == digits.params
    assert plan.costs["energy"].budget is None
    assert 0 <= plan.gap <= 1e-3
    assert plan.bound <= plan.objective
    assert plan.status == "optimal"
    assert [layer.name for layer in plan.layers] == [layer.name for layer in digits.sparsifiable]
    assert plan.layers[0].pattern == plan.layers[-1].pattern == "dense"
    assert all(layer.seed == layer_seed(0, layer.name) for layer in plan.layers)


def test_costs_are_what_the_masks_keep(residual: Network) -> None:
    plan = advisor.plan(residual, budgets={"params": "20%"}, patterns=["channel"], seed=3)
    masks = plan.masks()
    gone = {layer.name: int((~masks[layer.name]).sum()) for layer in plan.layers}
    assert plan.costs["params"].plan == residual.params - sum(gone.values())
    macs = sum(layer.macs * gone[layer.name] // layer.weights for layer in residual.sparsifiable)
    assert plan.costs["macs"].plan == residual.macs - macs


@pytest.mark.parametrize(
    ("key", "pattern", "says"),
    [
        ("weight_memory", "channel", "weight_memory count kept values and their positions, as stored"),
        ("peak_memory", "group", "peak_memory leaves out the copies"),
        ("macs", "channel", ""),
    ],
)
def test_a_limited_memory_says_what_a_run_takes_beside_it(digits: Network, key: str, pattern: str, says: str) -> None:
    plan = advisor.plan(digits, budgets={key: "90%"}, patterns=[pattern])
    told = [note for note in plan.notes if "memory" in note]
    assert len(told) == bool(says)
    assert all(says in note for note in told)


def test_patterns_that_nobody_has_compared_are_told(digits: Network) -> None:
    def told(patterns: list[str], exchange: dict[str, float] | None = None) -> list[str]:
        plan = advisor.plan(digits, budgets={"macs": "60%"}, patterns=patterns, exchange=exchange)
        return [note for note in plan.notes if note.startswith("losses")]

    assert told(["channel"]) == []
    assert "losses of channel, group stand on one scale by assumption" in told(["channel", "group"])[0]
    assert told(["channel", "group"], {"group": 1.2}) == ["losses are scaled by measured exchange rates: group 1.2"]


def test_random_connections_lose_more_than_magnitude_says() -> None:
    network = advisor.analyze(nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)), (1, 16))
    for selection, count in (("random", 1), ("magnitude", 0)):
        plan = advisor.plan(
            network, budgets={"macs": "80%"}, patterns=["channel"], sensitivity="magnitude", selection=selection
        )
        assert len([note for note in plan.notes if "the connections are drawn" in note]) == count


def test_dropped_connections_are_counted_out_and_noted() -> None:
    # Two outputs that read one input each leave most outputs of the layer before unread.
    network = advisor.analyze(
        nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 32, 3), nn.Conv2d(32, 2, 1), nn.Conv2d(2, 4, 1)), (1, 3, 8, 8)
    )
    half, few = Option(pattern="channel", density=0.5), Option(pattern="channel", density=1 / 32)
    options = {"0": (DENSE,), "1": (DENSE, half), "2": (DENSE, few), "3": (DENSE,)}
    built = build_table(network, with_width(network, options, rounding="ceil", levels=()))
    plan = assemble(
        network,
        built,
        (0, 1, 1, 0),
        Quality(objective=1.0, bound=1.0, gap=0.0, seconds=0.0, status="optimal"),
        Style(patterns=("channel",), sensitivity="erk"),
        limits={},
    )
    dropped = plan.layer("1").dropped
    assert len(dropped) == 30
    kept = {name: int(mask.sum()) for name, mask in plan.masks().items()}
    assert kept["1"] == 2 * 4 * 9
    biases = 8 + 32 + 2 + 4
    assert plan.costs["params"].plan == sum(kept.values()) + biases
    assert plan.costs["macs"].plan == 64 * kept["0"] + 36 * (kept["1"] + kept["2"] + kept["3"])
    assert plan.costs["weight_memory"].plan == 4 * (sum(kept.values()) + biases) + 2 * (2 * 4 + 2)
    activations = network.peak_activation_bytes
    assert plan.costs["peak_memory"].plan == plan.costs["weight_memory"].plan + activations
    assert any("30 outputs of 1 layers are cut off by the draw" in note for note in plan.notes)


def test_magnitude_keeps_the_largest_connections(digits: Network) -> None:
    plan = advisor.plan(
        digits, budgets={"params": "30%"}, patterns=["unstructured"], selection="magnitude", sensitivity="magnitude"
    )
    assert plan.chosen
    masks = plan.masks()
    for layer in plan.layers:
        if layer.pattern == "dense":
            assert layer.name not in plan.chosen
            continue
        weight = np.abs(weight_of(digits, digits.layer(layer.name)))
        mask = masks[layer.name].numpy()
        assert layer.selection == "magnitude"
        assert weight[mask].min() >= weight[~mask].max()


def test_the_same_question_has_the_same_plan(residual: Network) -> None:
    first, second = (advisor.plan(residual, budgets={"macs": "40%"}, patterns=["channel"], seed=5) for _ in range(2))
    assert replace(first, solve_seconds=0.0) == replace(second, solve_seconds=0.0)
    other = advisor.plan(residual, budgets={"macs": "40%"}, patterns=["channel"], seed=6)
    assert [layer.option for layer in other.layers] == [layer.option for layer in first.layers]
    assert [layer.seed for layer in other.layers] != [layer.seed for layer in first.layers]


def test_latency_budget(digits: Network) -> None:
    profile = timed(digits, ("channel", "group"))
    plan = advisor.plan(digits, budgets={"latency": "70%"}, patterns=["channel", "group"], profile=profile)
    line = plan.costs["latency"]
    assert line.budget is not None
    assert line.low is not None
    assert line.high is not None
    assert line.low < line.plan < line.high
    assert line.plan <= line.budget == pytest.approx(0.7 * line.dense)
    assert plan.profile == "synthetic"
    assert plan.settings is not None
    assert plan.settings["threads"] == 1
    assert {layer.pattern for layer in plan.layers} == {"dense", "group"}  # channel saves no time
    assert any(note.startswith("latency of the plan's 5 layers: ") for note in plan.notes)


def test_a_pattern_without_a_kernel_says_that_it_saves_no_time(digits: Network) -> None:
    plan = advisor.plan(digits, budgets={"macs": "50%"}, patterns=["channel"], profile=timed(digits, ("channel",)))
    assert any("channel runs masked here" in note and "0 ms saved" in note for note in plan.notes)
    assert plan.costs["latency"].plan == plan.costs["latency"].dense
    with pytest.raises(BudgetError) as error:
        advisor.plan(digits, budgets={"latency": "90%"}, patterns=["channel"], profile=timed(digits, ("channel",)))
    assert "is below the smallest reachable" in str(error.value)
    assert "allow the pattern 'width'" in str(error.value)


@pytest.mark.usefixtures("with_kernels")
def test_a_plan_records_by_which_method_each_layer_runs(digits: Network, tmp_path: Path) -> None:
    profile = timed(digits, ("channel", "n:m"), have=True)
    plan = advisor.plan(digits, budgets={"latency": "60%"}, patterns=["channel", "n:m"], profile=profile)
    methods = {layer.name: layer.method for layer in plan.layers}
    assert "direct" in methods.values()
    assert all(methods[layer.name] is None for layer in plan.layers if layer.pattern == "dense")
    direct = sum(method == "direct" for method in methods.values())
    assert f"layers run by the sparse kernels: {direct}" in plan.notes
    predicted = predict_latency(digits, profile, plan)
    assert predicted.latency_ms == pytest.approx(plan.costs["latency"].plan)
    plan.save(tmp_path / "plan.json")
    assert {x.name: x.method for x in load_plan(tmp_path / "plan.json").layers} == methods
    # Masked where the dense kernel is faster: only there does a plan save no time.
    slow = advisor.plan(digits, budgets={"macs": "50%"}, patterns=["channel"], profile=_slowed(profile))
    assert {layer.method for layer in slow.layers if layer.pattern == "channel"} == {"dense"}
    assert any("channel runs masked here" in note and "0 ms saved" in note for note in slow.notes)


def test_kernels_that_the_profile_had_and_this_machine_lacks_are_said_when_planning(digits: Network) -> None:
    profile = timed(digits, ("channel",), have=True)
    plan = advisor.plan(digits, budgets={"latency": "60%"}, patterns=["channel"], profile=profile)
    assert "direct" in {layer.method for layer in plan.layers}, "the plan is for the profile's machine"
    assert any("sparse kernels (test 1) that are missing here (switched off by a test)" in n for n in plan.notes)


def _slowed(profile: Profile) -> Profile:
    found = {
        key: replace(m, median_ms=99 * m.median_ms, low_ms=99 * m.low_ms, high_ms=99 * m.high_ms)
        if m.execution.method == "direct"
        else m
        for key, m in profile.measurements.items()
    }
    return replace(profile, measurements=found)


def test_without_a_profile_no_method_is_recorded(digits: Network) -> None:
    plan = advisor.plan(digits, budgets={"macs": "30%"}, patterns=["channel", "group"])
    assert {layer.method for layer in plan.layers} == {None}


def test_infeasible_names_the_smallest_reachable_and_the_way_out(digits: Network) -> None:
    with pytest.raises(BudgetError) as error:
        advisor.plan(digits, budgets={"params": "1k"}, patterns=["channel"])
    text = str(error.value)
    assert "budget params=1.000 k is below the smallest reachable" in text
    assert "limits it most" in text
    assert "allow the pattern 'width'" in text
    assert "include the ends (classifier, features.0)" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"selection": "tailor"}, "unknown selection 'tailor'; did you mean 'taylor'"),
        ({"sensitivity": "snipp"}, "unknown sensitivity 'snipp'; did you mean 'snip'"),
        ({"patterns": ["chanel"]}, "unknown pattern 'chanel'"),
        ({"gap": -1.0}, "gap=-1.0"),
        ({"gap": float("nan")}, "gap=nan"),
        ({"time_limit": 0.0}, "time_limit=0.0"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 1.5}, "seed=1.5"),
        ({"seed": 2**63}, "expected a whole number from 0 to 9223372036854775807"),  # a plan file holds no larger one
        ({"budgets": {"latency": "50%"}}, "budget latency needs a profile"),
        ({"budgets": {}}, "no budget given"),
        ({"profile": "r50.json"}, "profile='r50.json': got a str, expected a Profile; advisor.load_profile reads one"),
        ({"budgets": {"macs": 10**400}}, "expected a positive, finite limit"),
        ({"exchange": {"channel": -1}}, "exchange rate of pattern 'channel'"),
    ],
)
def test_mistakes_are_one_line(digits: Network, changes: dict[str, object], says: str) -> None:
    asked: dict[str, object] = {"budgets": {"macs": "50%"}, "patterns": ["channel"], **changes}
    with pytest.raises(AdvisorError) as error:
        advisor.plan(digits, **asked)  # type: ignore[arg-type]
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_module_has_to_be_analysed_first() -> None:
    module = torch.nn.Linear(4, 4)
    for ask in (
        lambda: advisor.plan(module, budgets={"macs": "50%"}),  # type: ignore[arg-type]
        lambda: advisor.frontier(module, cost="macs"),  # type: ignore[arg-type]
        lambda: advisor.measure(module),  # type: ignore[arg-type]
    ):
        with pytest.raises(AdvisorError, match="got a Linear, expected a Network; make one with"):
            ask()


def test_exchange_rates_decide_between_patterns(digits: Network) -> None:
    costly = advisor.plan(
        digits, budgets={"macs": "50%"}, patterns=["channel", "unstructured"], exchange={"channel": 2.0}
    )
    assert {layer.pattern for layer in costly.layers} == {"dense", "unstructured"}
    assert "losses are scaled by measured exchange rates: channel 2" in costly.notes


def test_exchange_file(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"exchange": {"channel": 1.25, "width": 0.8}, "runs": []}))
    assert load_exchange(path) == {"channel": 1.25, "width": 0.8}
    for content, says in (
        ({"runs": []}, "holds no exchange rates"),
        ([], "holds no exchange rates"),
        ({"exchange": {"channel": -1}}, "positive"),
        ({"exchange": {"chanel": 1}}, "unknown pattern"),
    ):
        path.write_text(json.dumps(content))
        with pytest.raises(PlanError, match=says):
            load_exchange(path)
    with pytest.raises(PlanError):
        load_exchange(tmp_path / "none.json")


def test_an_interval_that_reaches_over_the_budget_is_said(digits: Network) -> None:
    plan = advisor.plan(digits, budgets={"latency": "70%"}, patterns=["group"], profile=timed(digits, ("group",)))
    line = plan.costs["latency"]
    assert line.high is not None
    assert line.budget is not None
    assert line.high > line.budget
    assert any(note.startswith("latency is predicted within its budget") for note in plan.notes)


def test_a_network_without_weights_has_nothing_to_plan() -> None:
    network = advisor.analyze(nn.Sequential(nn.ReLU()), (1, 4))
    with pytest.raises(PlanError, match="has no convolution or linear layer"):
        advisor.plan(network, budgets={"macs": "50%"})


def test_the_ends_stay_dense_unless_asked_or_width_is_alone(digits: Network) -> None:
    def patterns(**given: Any) -> list[str]:
        return [layer.pattern for layer in advisor.plan(digits, budgets={"macs": "20%"}, **given).layers]

    ends = patterns()
    assert ends[0] == ends[-1] == "dense"
    assert any(name != "dense" for name in ends[1:-1])
    alone = patterns(patterns=["width"])  # the depth multiplier scales every layer
    assert alone[0] == "width"
