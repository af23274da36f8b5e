"""Exchange rates that are known beforehand, and verdicts that claim no more than the runs show."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import advisor
from advisor.errors import PlanError
from advisor.examples import Given
from advisor.examples.batches import calibration
from advisor.network import Network
from advisor.plans.plan import Plan
from validation.reporting.exchange import exchange, losses_by_pattern, verdict, way_of

LOSSES = {
    "plan": {"channel": 0.5, "width": 0.5},
    "uniform": {"channel": 1.2},
    "erk": {"channel": 0.9},
    "width": {"width": 1.0},
}
COST = {"channel": 0.06, "width": 0.03}


def accuracies(noise: float, seeds: int = 3) -> dict[str, dict[int, float]]:
    rng = np.random.default_rng(0)
    means = {"dense": 0.9} | {
        plan: 0.9 - sum(COST[name] * loss for name, loss in parts.items()) for plan, parts in LOSSES.items()
    }
    luck = rng.normal(0, 0.05, seeds)
    return {
        plan: {seed: mean + luck[seed] + noise * rng.normal() for seed in range(seeds)} for plan, mean in means.items()
    }


def test_rates_come_out_as_they_went_in() -> None:
    found = exchange(LOSSES, accuracies(noise=0.0))
    assert found.reference == "channel"
    assert {one.pattern: one.rate for one in found.rates} == pytest.approx({"channel": 1.0, "width": 0.5})
    assert found.to_json()["exchange"]["width"] == pytest.approx(0.5)


def test_the_planner_reads_the_rates(tmp_path: Path) -> None:
    from advisor.files import write_json
    from advisor.planning.make import load_exchange

    write_json(tmp_path / "report.json", exchange(LOSSES, accuracies(noise=0.0)).to_json())
    assert load_exchange(tmp_path / "report.json") == pytest.approx({"channel": 1.0, "width": 0.5})


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    inside = 0
    rng = np.random.default_rng(5)
    for _ in range(200):
        noisy = {
            plan: {seed: value + 0.004 * rng.normal() for seed, value in runs.items()}
            for plan, runs in accuracies(noise=0.0).items()
        }
        found = exchange(LOSSES, noisy)
        width = next(one for one in found.rates if one.pattern == "width")
        assert width.low is not None
        assert width.high is not None
        inside += width.low <= 0.5 <= width.high
    assert 175 <= inside <= 200  # 95 % of 200 is 190


def test_one_seed_gives_rates_without_interval() -> None:
    found = exchange(LOSSES, accuracies(noise=0.001, seeds=1))
    assert all(one.low is None for one in found.rates)
    assert any("one seed" in note for note in found.notes)


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ({"plan": LOSSES["plan"]}, "do not separate"),
        ({}, "must finish"),
        ({"plan": {"channel": 1.0}, "width": {"width": 1.0}, "uniform": {"channel": 2.0}}, ""),
    ],
)
def test_what_cannot_be_measured_is_said(losses: dict[str, dict[str, float]], said: str) -> None:
    found = exchange(losses, accuracies(noise=0.0))
    assert bool(found.rates) == (said == "")
    assert said in " ".join(found.notes)


def test_a_pattern_that_cost_nothing_has_no_rate() -> None:
    seen = accuracies(noise=0.0)
    seen["width"] = {seed: value + 0.02 for seed, value in seen["dense"].items()}
    found = exchange({"uniform": LOSSES["uniform"], "width": LOSSES["width"]}, seen)
    assert not found.rates
    assert "width cost no accuracy" in found.notes[0]


def test_a_plans_loss_is_split_by_pattern(network: Network, plan: Plan) -> None:
    parts = losses_by_pattern(network, plan)
    assert set(parts) == {"channel"}
    assert parts["channel"] == pytest.approx(plan.objective)
    assert way_of(plan) == "channel connections"


WAYS = {"plan": "channel connections", "uniform": "channel connections", "width": "narrowing"}


def runs(plan: float, uniform: float, width: float, spread: float = 0.001) -> dict[str, dict[int, float]]:
    means = {"dense": 0.91, "plan": plan, "uniform": uniform, "width": width}
    signs = {"dense": 1, "plan": -1, "uniform": 1, "width": -1}
    return {name: {0: mean + signs[name] * spread, 1: mean - signs[name] * spread} for name, mean in means.items()}


def test_a_clear_winner_is_named() -> None:
    found = verdict(WAYS, runs(0.857, 0.80, 0.877), at="At macs 15 %")
    assert found is not None
    assert (found.best, found.tied, set(found.beaten)) == ("width", (), {"plan", "uniform"})
    assert found.text.startswith("At macs 15 %, narrowing wins: width 0.877 against plan 0.857 and uniform 0.800")


def test_what_overlaps_is_not_told_apart() -> None:
    found = verdict(WAYS, runs(0.875, 0.80, 0.877), at="At macs 15 %")
    assert found is not None
    assert (found.tied, found.beaten) == (("plan",), ("uniform",))
    assert "cannot tell width 0.877 and plan 0.875 apart" in found.text
    assert found.text.endswith("both beat uniform 0.800.")
    found = verdict(WAYS, runs(0.875, 0.874, 0.877, spread=0.02), at="At macs 15 %")
    assert found is not None
    assert not found.beaten
    assert "cannot tell" in found.text


def test_one_seed_decides_nothing() -> None:
    one = {plan: {0: seeds[0]} for plan, seeds in runs(0.8, 0.7, 0.9).items()}
    found = verdict(WAYS, one, at="At macs 15 %")
    assert found is not None
    assert found.margin is None
    assert "one seed" in found.text
    assert "wins" not in found.text


def test_without_runs_there_is_no_verdict() -> None:
    assert verdict(WAYS, {"dense": {0: 0.9}, "plan": {}}, at="") is None


def test_losses_of_a_sensitivity_that_needs_data_are_split_with_data() -> None:
    torch.manual_seed(0)
    network = advisor.analyze(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)), (2, 8))
    examples = calibration((torch.randn(16, 8), torch.arange(16) % 4))
    plan = advisor.plan(
        network,
        budgets={"params": "60%"},
        patterns=["unstructured"],
        sensitivity="snip",
        selection="taylor",
        include_ends=True,
        data=examples,
    )
    with pytest.raises(PlanError, match="'snip' needs labelled data"):
        losses_by_pattern(network, plan)
    parts = losses_by_pattern(network, plan, Given(calibration=examples))
    assert sum(parts.values()) == pytest.approx(plan.objective)
    assert losses_by_pattern(network, plan, sensitivity="erk") != parts
