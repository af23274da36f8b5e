"""The gauges themselves, on a small real network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from advisor.devices.memory.receipt import MemoryReceipt
from advisor.devices.settings import this_machine
from advisor.network import Network
from advisor.planning.problem import decide, pose
from advisor.plans.plan import Plan
from advisor.refining.gauges import MemoryGauge, TimeGauge, gauges_of
from advisor.refining.loop import refined
from tests.planning.test_build import timed
from tests.refining.machine import PATTERNS


def test_the_real_network_is_timed_beside_the_dense_one(digits: Network) -> None:
    profile = replace(timed(digits, PATTERNS, have=True), machine=this_machine())
    problem = pose(digits, budgets={"latency": "60%"}, profile=profile, patterns=PATTERNS)
    gauges = gauges_of(problem)
    assert set(gauges) == {"latency"}
    found = gauges["latency"](decide(problem), 0.05)
    assert len(found.shares) == len(found.dense) >= 6
    assert all(share > 0 for share in found.shares)
    assert "1 thread" in found.settings
    plan = refined(problem, rounds=2, seconds=0.05)
    assert 1 <= len(plan.rounds) <= 2
    assert plan.costs["latency"].dense == pytest.approx(plan.rounds[-1].dense)


def test_training_steps_are_timed_under_a_budget_on_them(digits: Network) -> None:
    profile = timed(digits, PATTERNS, have=True)
    assert profile.settings is not None
    profile = replace(profile, machine=this_machine(), settings=replace(profile.settings, training=True))
    problem = pose(digits, budgets={"training_latency": "90%", "macs": "50%"}, profile=profile, patterns=PATTERNS)
    (gauge,) = gauges_of(problem).values()
    assert isinstance(gauge, TimeGauge)
    assert gauge.training
    assert "training" in gauge(decide(problem), 0.05).settings


def test_memory_is_measured_beside_a_few_dense_runs(digits: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Plan | None] = []
    problem = pose(digits, budgets={"peak_memory": "85%"}, patterns=("channel",))

    def measured(network: Network, plan: Plan | None = None, **settings: Any) -> MemoryReceipt:
        asked.append(plan)
        stored = digits.weight_bytes if plan is None else plan.costs["weight_memory"].plan
        peak = round(1.05 * stored) + digits.peak_activation_bytes + 200_000
        return MemoryReceipt(measured_peak_bytes=peak, weights_bytes=0, kept_bytes=0, run_bytes=0, method="a formula")

    monkeypatch.setattr("advisor.refining.gauges.verify_memory", measured)
    gauges = gauges_of(problem)
    assert isinstance(gauges["peak_memory"], MemoryGauge)
    plan = refined(problem, rounds=5, seconds=1.0, gauges=gauges)
    assert 1 <= asked.count(None) <= 3
    assert len(asked) > asked.count(None)
    line = plan.costs["peak_memory"]
    assert line.dense == round(1.05 * digits.weight_bytes) + digits.peak_activation_bytes + 200_000
    assert line.budget == pytest.approx(0.85 * line.dense)
    assert line.plan <= line.budget
    assert [item.cost for item in plan.rounds] == ["peak_memory"] * len(plan.rounds)
