"""At most N patterns in a plan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import advisor
from advisor.errors import BudgetError
from advisor.network import Network
from advisor.patterns.option import DENSE, Option
from advisor.planning.solving.feasible import patterns_of
from advisor.planning.solving.fronts import trace_front
from advisor.planning.solving.reduce import undominated
from advisor.planning.solving.solve import solve
from advisor.planning.table import CostTable
from tests.planning.tables import brute_force, mixed_tables, table_of, tied_tables

shares = st.lists(st.floats(0.0, 1.1), min_size=4, max_size=4)

limited = st.sets(st.sampled_from(["params", "latency", "peak_memory"]), min_size=1)


def check(table: CostTable, limits: dict[str, float], most: int) -> None:
    best = brute_force(table, limits, max_patterns=most)
    if best is None:
        with pytest.raises(BudgetError, match=r"smallest reachable|exclude each other|cannot be met together"):
            solve(table, limits, max_patterns=most)
        return
    found = solve(table, limits, gap=0.0, max_patterns=most)
    assert all(table.total(key, found.choice) <= limit for key, limit in limits.items())
    assert len(patterns_of(table, found.choice)) <= most
    assert found.objective == pytest.approx(best, abs=1e-9)
    assert found.bound <= best + 1e-9
    assert found.status == "optimal"


@settings(max_examples=100, deadline=None)
@given(table=mixed_tables(), parts=shares, most=st.integers(1, 3))
def test_equals_brute_force(table: CostTable, parts: list[float], most: int) -> None:
    check(table, {key: p * table.total(key, table.dense) for key, p in zip(table.keys, parts, strict=False)}, most)


@settings(max_examples=60, deadline=None)
@given(
    table=tied_tables(), parts=shares, keys=st.sets(st.sampled_from(["params", "latency", "peak_memory"]), min_size=1)
)
def test_equals_brute_force_with_width_groups(table: CostTable, parts: list[float], keys: set[str]) -> None:
    check(table, {key: p * table.total(key, table.dense) for key, p in zip(sorted(keys), parts, strict=False)}, 1)


@settings(max_examples=60, deadline=None)
@given(table=mixed_tables(), parts=shares, most=st.integers(1, 2))
def test_dropping_dominated_options_keeps_the_best_plan(table: CostTable, parts: list[float], most: int) -> None:
    limits = {key: p * table.total(key, table.dense) for key, p in zip(table.keys, parts, strict=False)}
    kept = [ks.tolist() for ks in undominated(table, tuple(limits), across_patterns=False)]
    assert brute_force(table, limits, among=kept, max_patterns=most) == brute_force(table, limits, max_patterns=most)


def two_patterns() -> CostTable:
    """Each layer is best thinned by another pattern."""
    table = table_of({"params": [[10, 2, 2], [10, 2, 2]]}, [[0, 1, 5], [0, 5, 1]])
    options = (DENSE, Option(pattern="channel", density=0.2), Option(pattern="group", density=0.2))
    return replace(table, options=(options, options))


def test_one_pattern_costs_what_mixing_saves() -> None:
    table = two_patterns()
    assert solve(table, {"params": 4.0}).objective == 2.0
    one = solve(table, {"params": 4.0}, max_patterns=1)
    assert one.objective == 6.0
    assert one.choice.tolist() in ([1, 1], [2, 2])
    assert solve(table, {"params": 4.0}, max_patterns=2).objective == 2.0


def test_more_patterns_are_named_where_they_would_help() -> None:
    # The first layer is thin in one pattern only, the second in the other.
    table = table_of({"params": [[10, 2], [10, 2]]}, [[0, 1], [0, 1]])
    options = tuple((DENSE, Option(pattern=name, density=0.2)) for name in ("channel", "group"))
    table = replace(table, options=options)
    with pytest.raises(BudgetError, match=r"below the smallest reachable 12.00.* or allow more patterns than 1$"):
        solve(table, {"params": 5.0}, max_patterns=1)
    with pytest.raises(BudgetError, match=r"below the smallest reachable 4.000.*; raise it$"):
        solve(table, {"params": 3.0}, max_patterns=2)


def test_a_front_with_one_pattern() -> None:
    points = trace_front(two_patterns(), "params", 5, max_patterns=1, gap=0.0)
    assert [(point.cost, point.loss) for point in points] == [(20.0, 0.0), (12.0, 1.0), (4.0, 6.0)]


@pytest.mark.parametrize("most", [0, -1, 1.5, True, "2"])
def test_what_is_no_number_of_patterns_is_refused(most: object) -> None:
    with pytest.raises(BudgetError, match=r"max_patterns=.*; expected a whole number of 1 or more"):
        solve(two_patterns(), {"params": 4.0}, max_patterns=most)  # type: ignore[arg-type]


def test_through_the_public_call(digits: Network) -> None:
    budgets = {"macs": "30%", "params": "35%"}
    free = advisor.plan(digits, budgets=budgets, gap=0.0)
    one = advisor.plan(digits, budgets=budgets, gap=0.0, max_patterns=1)
    assert len({layer.pattern for layer in one.layers} - {"dense"}) == 1
    assert free.objective <= one.objective + 1e-9
    table = two_patterns()
    assert advisor.plan(table, budgets={"params": 4.0}, max_patterns=1).objective == 6.0
    assert np.isclose(advisor.plan(table, budgets={"params": 4.0}).objective, 2.0)
