"""The front: exact points, in order, none above another."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import advisor
from advisor.errors import BudgetError
from advisor.network import Network
from advisor.planning.frontier import trace_front
from tests.planning.tables import brute_force, table_of
from tests.planning.test_build import timed


def test_points_are_the_best_at_their_cost() -> None:
    rng = np.random.default_rng(0)
    cost = np.sort(rng.integers(1, 50, (4, 4)), axis=1)[:, ::-1].astype(float)
    loss = np.sort(rng.uniform(0, 1, (4, 4)), axis=1)
    loss[:, 0] = 0
    table = table_of({"macs": cost.tolist()}, loss.tolist())
    front = trace_front(table, "macs", 8, gap=0.0)
    assert front[0].cost == table.total("macs", table.dense)
    assert front[-1].cost == cost.min(axis=1).sum()
    for point in front:
        assert point.loss == pytest.approx(brute_force(table, {"macs": point.cost}))
        assert point.gap == pytest.approx(0, abs=1e-6)
    assert all(a.cost > b.cost and a.loss < b.loss for a, b in pairwise(front))
    assert sum(point.knee for point in front) <= 1


def test_the_knee_lies_furthest_below_the_chord() -> None:
    table = table_of({"macs": [[10, 5, 0]]}, [[0, 1, 10]])
    assert [(p.cost, p.knee) for p in trace_front(table, "macs", 3)] == [(10, False), (5, True), (0, False)]
    straight = table_of({"macs": [[10, 0]]}, [[0, 10]])
    assert not any(point.knee for point in trace_front(straight, "macs", 5))


def test_points_that_even_limits_miss_are_found_in_the_gaps() -> None:
    table = table_of({"macs": [[100, 98, 96, 94, 0]]}, [[0, 1, 2, 3, 10]])
    assert len(trace_front(table, "macs", 4)) == 4
    assert [point.cost for point in trace_front(table, "macs", 20)] == [100, 98, 96, 94, 0]  # there are no more


def test_a_front_that_is_one_point() -> None:
    table = table_of({"macs": [[10], [4]]}, [[0], [0]])
    assert [point.cost for point in trace_front(table, "macs", 5)] == [14]


def test_fewer_than_two_points_are_refused() -> None:
    with pytest.raises(BudgetError, match="points=1; expected 2 or more"):
        trace_front(table_of({"macs": [[1]]}, [[0]]), "macs", 1)


def test_a_networks_front(digits: Network) -> None:
    front = advisor.frontier(digits, cost="macs", points=6, patterns=["channel"])
    assert (front.key, front.unit, front.dense) == ("macs", "", digits.macs)
    assert front.points[0].loss == 0
    assert front.points[-1].densities["features.8"] < 0.1
    document = front.to_json()
    assert document["cost"] == "macs"
    assert [set(point) for point in document["points"]] == [
        {"cost", "loss", "gap", "knee", "costs", "limits", "prices", "densities", "options"}
    ] * len(front.points)
    plan = advisor.plan(digits, budgets={"macs": front.points[2].cost}, patterns=["channel"])
    assert plan.objective == pytest.approx(front.points[2].loss, rel=2e-3)


def test_a_front_of_times(digits: Network) -> None:
    front = advisor.frontier(digits, points=4, patterns=["group"], profile=timed(digits, ("group",)))
    assert front.unit == "ms"
    assert front.points[-1].cost < front.dense
    with pytest.raises(BudgetError, match="budget latency needs a profile"):
        advisor.frontier(digits, points=4)
    with pytest.raises(BudgetError, match="unknown cost 'speed'"):
        advisor.frontier(digits, cost="speed")
