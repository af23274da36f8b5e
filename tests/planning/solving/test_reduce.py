"""Dropping dominated options loses nothing."""

from __future__ import annotations

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.planning.solving.reduce import undominated
from advisor.planning.solving.solve import solve
from advisor.planning.table import CostTable
from tests.planning.tables import brute_force, plain_tables, table_of, tied_tables


def best_of_kept(table: CostTable, limits: dict[str, float]) -> float | None:
    kept = undominated(table, tuple(k for k in table.costs if k in limits or k == "weight_memory"))
    found = [
        table.objective(choice)
        for choice in product(*(ks.tolist() for ks in kept))
        if table.agrees(choice) and all(table.total(key, choice) <= limit for key, limit in limits.items())
    ]
    return min(found, default=None)


@settings(max_examples=60, deadline=None)
@given(table=plain_tables(), part=st.floats(0, 1))
def test_the_best_plan_stays(table: CostTable, part: float) -> None:
    limits = {"params": part * table.total("params", table.dense)}
    assert best_of_kept(table, limits) == brute_force(table, limits)


@settings(max_examples=60, deadline=None)
@given(table=tied_tables(), part=st.floats(0, 1.2))
def test_the_best_plan_stays_with_width_groups(table: CostTable, part: float) -> None:
    limits = {key: part * table.total(key, table.dense) for key in ("params", "peak_memory")}
    assert best_of_kept(table, limits) == brute_force(table, limits)


def test_a_dominated_option_goes() -> None:
    table = table_of({"params": [[5, 3, 4]]}, [[0, 1, 2]])
    assert undominated(table, ("params",))[0].tolist() == [0, 1]


def test_of_ties_the_one_that_is_cheaper_elsewhere_stays_then_the_first() -> None:
    table = table_of({"params": [[5, 3, 3]], "latency": [[5, 5, 2]]}, [[0, 1, 1]])
    assert undominated(table, ("params",))[0].tolist() == [0, 2]
    table = table_of({"params": [[5, 3, 3]]}, [[0, 1, 1]])
    assert undominated(table, ("params",))[0].tolist() == [0, 1]


def test_an_option_above_a_mixture_of_others_stays_since_nobody_can_take_a_mixture() -> None:
    # The middle option costs more than the mean of the outer ones, so the linear relaxation never takes it.
    table = table_of({"params": [[10, 6, 0]]}, [[0, 6, 10]])
    assert undominated(table, ("params",))[0].tolist() == [0, 1, 2]
    assert brute_force(table, {"params": 7.0}) == 6.0
    assert solve(table, {"params": 7.0}, gap=0.0).objective == 6.0
