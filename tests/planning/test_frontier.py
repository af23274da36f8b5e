"""The front: exact points, in order, none above another."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import advisor
from advisor.errors import BudgetError, PlanError
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


def test_every_point_keeps_to_what_is_asked_of_layers(digits: Network) -> None:
    asked = {
        "pins": {"features.4": "dense"},
        "min_density": {"features.8": 0.25},
        "forbidden": {"features.12": ["group"]},
    }
    front = advisor.frontier(digits, cost="macs", points=5, patterns=["channel", "group"], **asked)
    assert front.points[0].cost == front.dense
    assert front.points[-1].cost < front.dense
    for index, point in enumerate(front.points):
        assert point.options["features.4"].pattern == "dense"
        assert point.densities["features.8"] >= 0.25
        assert point.options["features.12"].pattern != "group"
        written = front.plan(index)  # of the whole table, in which the options have other numbers
        assert {layer.name: layer.option for layer in written.layers} == dict(point.options)
        assert written.costs["macs"].plan == point.cost
    alone = advisor.plan(digits, budgets={"macs": front.points[2].cost}, patterns=["channel", "group"], **asked)
    assert alone.objective == pytest.approx(front.points[2].loss, rel=2e-3)
    free = advisor.frontier(digits, cost="macs", points=5, patterns=["channel", "group"])
    assert free.points[-1].cost < front.points[-1].cost


def test_where_layers_must_be_thinned_out_the_front_begins_below_dense(digits: Network) -> None:
    front = advisor.frontier(
        digits,
        cost="macs",
        points=4,
        patterns=["channel"],
        max_density={"features.8": 0.5},
        forbidden={"*12": ["dense"]},
    )
    first = front.points[0]
    assert first.cost < front.dense
    assert first.loss > 0
    assert all(point.densities["features.8"] <= 0.5 for point in front.points)
    assert all(point.options["features.12"].pattern == "channel" for point in front.points)
    best = advisor.plan(
        digits,
        budgets={"macs": "100%"},
        patterns=["channel"],
        max_density={"features.8": 0.5},
        forbidden={"*12": ["dense"]},
    )
    assert first.loss == pytest.approx(best.objective, rel=2e-3)


def test_two_costs_under_constraints(digits: Network) -> None:
    front = advisor.frontier(
        digits, cost=("macs", "params"), points=6, patterns=["channel"], pins={"*8": 0.25, "features.4": "dense"}
    )
    assert len(front.points) >= 3
    assert {point.densities["features.8"] for point in front.points} == {0.25}
    assert {point.options["features.4"].pattern for point in front.points} == {"dense"}


def test_what_is_asked_of_no_layer_is_refused(digits: Network) -> None:
    with pytest.raises(PlanError, match="unknown layer 'feature'"):
        advisor.frontier(digits, cost="macs", points=3, pins={"feature": "dense"})
    with pytest.raises(PlanError, match=r"layer features.8: no option for pin group; it has"):
        advisor.frontier(digits, cost="macs", points=3, patterns=["channel"], pins={"features.8": "group"})


def test_fewer_points_than_asked_are_explained(digits: Network) -> None:
    pins = {"features.4": "dense", "features.12": "dense"}
    front = advisor.frontier(digits, cost="macs", points=40, patterns=["channel"], pins=pins)
    assert len(front.points) == 9  # what one layer alone can be
    assert any(note.startswith("9 of 40 points: every limit tried between them gives") for note in front.notes)
    full = advisor.frontier(digits, cost="macs", points=4, patterns=["channel"])
    assert len(full.points) == 4
    assert not any("points: every limit" in note for note in full.notes)
