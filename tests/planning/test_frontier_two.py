"""Fronts of two costs, and what a front answers without solving again."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings

import advisor
from advisor.errors import BudgetError
from advisor.network import Network
from advisor.planning.solving.fronts import trace_front
from advisor.planning.solving.infeasible import smallest
from advisor.planning.solving.solve import solve
from advisor.planning.table import CostTable
from tests.planning.tables import brute_force, plain_tables, table_of, tied_tables

KEYS = ("params", "weight_memory")


def check(table: CostTable) -> None:
    front = trace_front(table, KEYS, 4, gap=0.0)
    assert front
    for point in front:
        assert all(point.costs[key] <= limit for key, limit in point.limits.items())
        assert point.loss == pytest.approx(brute_force(table, point.limits), abs=1e-9)
        assert point.solution is not None
        assert point.costs == table.totals(point.solution.choice)
    for a, b in product(front, front):
        if a is not b:
            assert any(a.costs[key] < b.costs[key] for key in KEYS) or a.loss < b.loss
    assert sum(point.knee for point in front) <= 1
    given: dict[str, float] = {}
    for key in KEYS:
        least = smallest(table, key, given)
        assert least is not None
        assert min(point.costs[key] for point in front) == least.value
        given[key] = max(least.value, table.total(key, table.dense))  # no limit is looser than the dense network


@settings(max_examples=12, deadline=None)
@given(table=plain_tables())
def test_points_are_the_best_within_their_limits(table: CostTable) -> None:
    check(table)


@settings(max_examples=6, deadline=None)
@given(table=tied_tables())
def test_with_width_groups(table: CostTable) -> None:
    check(table)


def conflicting() -> CostTable:
    """Each option of a layer saves one cost or the other."""
    rng = np.random.default_rng(2)
    params = [[10.0, 9.0, 4.0, 3.0]] * 4
    macs = [[10.0, 4.0, 9.0, 3.0]] * 4
    loss = [[0.0, *np.sort(rng.uniform(1, 2, 2)), 4.0] for _ in range(4)]
    return table_of({"params": params, "macs": macs}, loss)


def test_two_costs_trade_against_each_other_too() -> None:
    front = trace_front(conflicting(), ("params", "macs"), 25, gap=0.0)
    assert len(front) > 8
    at_same = [(a, b) for a, b in product(front, front) if a.costs["params"] > b.costs["params"]]
    assert any(a.costs["macs"] < b.costs["macs"] for a, b in at_same)
    assert [point.costs["params"] for point in front] == sorted((p.costs["params"] for p in front), reverse=True)
    assert len(front) <= 25


@pytest.mark.parametrize("costs", [(), ("params", "params"), ("params", "macs", "energy")])
def test_no_cost_the_same_twice_or_three_are_refused(costs: tuple[str, ...]) -> None:
    with pytest.raises(BudgetError, match="a front has one cost or two different ones"):
        trace_front(conflicting(), costs, 4)


def test_a_cost_that_the_table_lacks_is_refused() -> None:
    with pytest.raises(BudgetError, match="unknown cost of this table 'energy'"):
        trace_front(conflicting(), ("params", "energy"), 4)


def test_a_known_plan_changes_nothing_but_the_time() -> None:
    table = conflicting()
    limits = {"params": 24.0, "macs": 26.0}
    plain = solve(table, limits, gap=0.0)
    for known in (table.dense, plain.choice, np.array([3, 3, 3, 3])):  # over the limits, the best, a poor one
        assert solve(table, limits, gap=0.0, known=np.array(known)).objective == plain.objective


def test_a_networks_points_are_plans(digits: Network) -> None:
    front = advisor.frontier(digits, cost=("macs", "params"), points=9, patterns=["channel"])
    assert (front.key, front.keys) == ("macs", ("macs", "params"))
    assert front.dense_costs == {"macs": digits.macs, "params": digits.params}
    for index, point in enumerate(front.points):
        plan = front.plan(index)
        assert plan.objective == point.loss
        assert {layer.name: layer.option for layer in plan.layers} == dict(point.options)
        assert all(plan.costs[key].budget == point.limits[key] for key in front.keys)
        assert all(plan.costs[key].plan <= point.costs[key] for key in front.keys)
    document = front.to_json()
    assert (document["cost"], document["costs"]) == ("macs", ["macs", "params"])


def test_the_best_point_within_limits(digits: Network) -> None:
    front = advisor.frontier(digits, cost="macs", points=6, patterns=["channel"])
    costs = [point.cost for point in front.points]
    assert front.within({}) == 0
    assert front.within({"macs": costs[2]}) == 2
    assert front.within({"macs": costs[2] - 1}) == 3
    assert front.within({"macs": costs[0], "params": front.points[4].costs["params"]}) == 4
    assert front.within({"macs": 1.0}) is None
    with pytest.raises(BudgetError, match="unknown cost of this front 'speed'"):
        front.within({"speed": 1.0})
    with pytest.raises(BudgetError, match="point 6 of a front with 6 points"):
        front.plan(6)
