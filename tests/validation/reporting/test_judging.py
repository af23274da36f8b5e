"""Who competes: plans that keep the budgets of the plan asked for."""

from __future__ import annotations

from dataclasses import replace

import advisor
from advisor.network import Network
from advisor.plans.plan import CostLine, Plan
from validation.reporting.judging import over_budget


def timed(plan: Plan, budget: float) -> Plan:
    """The plan with a limit on a time beside its own."""
    return replace(plan, costs={**plan.costs, "latency": CostLine(dense=2.0, plan=0.9, budget=budget)})


def test_a_plan_keeps_its_own_budgets(plan: Plan) -> None:
    assert over_budget(plan, plan) == ()


def test_a_larger_plan_is_out(plan: Plan, network: Network) -> None:
    larger = advisor.plan(network, budgets={"macs": "90%"}, patterns=["channel"])
    (said,) = over_budget(larger, plan)
    assert said.startswith("macs ")
    assert said.endswith("it does not count in the verdict")


def test_a_time_that_nobody_knows_excludes_what_training_left_and_no_baseline(plan: Plan) -> None:
    asked = timed(plan, 1.0)
    assert over_budget(plan, asked) == ()  # without a profile a baseline is held to the plan's MACs
    (said,) = over_budget(plan, asked, found=True)
    assert said.startswith("its latency is not known, and 1.000 ms are allowed")
