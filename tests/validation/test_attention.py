"""What a validation makes of plans that replace attention."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

import advisor
from advisor.patterns.option import DENSE
from advisor.planning.sensitivity import losses
from advisor.plans.plan import Plan
from tests.runtime.attention.networks import patches
from validation.learning.responses import responses_of
from validation.reporting.exchange import losses_by_pattern, way_of
from validation.running.trials import plan_digest


def planned(**options: Any) -> tuple[Any, Plan]:
    _, network = patches()
    return network, advisor.plan(network, patterns=["hierarchical", "channel"], **options)


def test_estimated_losses_are_split_by_pattern() -> None:
    pins = {"attention:attention": "hierarchical@window=4,pool=4", "mlp.0": "channel@0.5"}
    network, plan = planned(budgets={"macs": "90%"}, pins=pins)
    parts = losses_by_pattern(network, plan)
    assert set(parts) >= {"hierarchical", "channel"}
    assert sum(parts.values()) == pytest.approx(plan.objective)
    hidden = plan.layer("mlp.0")
    assert parts["channel"] == pytest.approx(losses(network, {"mlp.0": (DENSE, hidden.option)}, "erk")["mlp.0"][1])
    assert way_of(plan) == "channel connections with hierarchical attention"


def test_a_plan_of_attention_alone_is_named() -> None:
    _, plan = planned(
        budgets={"macs": "60%"}, pins={"attention:attention": "hierarchical"}, forbidden={"*": ["channel"]}
    )
    assert way_of(plan) == "hierarchical attention"


def test_its_runs_teach_nothing_of_the_layers() -> None:
    network, plan = planned(budgets={"macs": "60%"})
    other = advisor.plan(network, budgets={"macs": "99%"}, patterns=["channel"])
    contestants = [SimpleNamespace(label=str(n), plan=one, method=None) for n, one in enumerate((None, plan, other))]
    study: Any = SimpleNamespace(contestants=contestants, settings=lambda: {"epochs": 1})
    runs = [{"plan": one.label, "seed": 0, "loss": 1.0, "accuracy": 0.5} for one in contestants]
    found = responses_of(network, study, runs)
    assert plan.attention
    assert set(found.plans) == {plan_digest(None), plan_digest(other)}
    assert len(found.runs) == 2
