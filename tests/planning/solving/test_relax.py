"""The linear relaxation: its bound is one, its reduced costs rule out nothing that is needed, its prices are slopes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.planning.solving.program import Program, build_program
from advisor.planning.solving.relax import Relaxation, relax, within
from advisor.planning.table import CostTable
from tests.planning.tables import brute_force, mixed_tables, plain_tables, table_of, tied_tables

shares = st.lists(st.floats(0.0, 1.1), min_size=4, max_size=4)
several = st.sampled_from([("params",), ("params", "weight_memory"), ("params", "latency", "peak_memory")])


def relaxed(table: CostTable, limits: dict[str, float], most: int | None = None) -> tuple[Program, Relaxation]:
    program = build_program(table, tuple(limits), max_patterns=most)
    return program, relax(program, limits, time_limit=10.0)


def check(table: CostTable, limits: dict[str, float], most: int | None = None) -> None:
    best = brute_force(table, limits, max_patterns=most)
    program, found = relaxed(table, limits, most)
    if found.status == "infeasible":
        assert best is None
        return
    assert best is not None or found.choice is None
    if best is None:
        return
    assert found.bound <= best + 1e-9 * max(best, 1.0)
    # Reduced-cost fixing: what is out of reach of the best choice is in no choice as good.
    left = within(found, best - found.bound)
    among = [program.option_of[(program.layer_of == layer) & left].tolist() for layer in range(len(table.layers))]
    assert brute_force(table, limits, among=among, max_patterns=most) == best
    if found.choice is not None:
        assert all(table.total(key, found.choice) <= limit + 1e-9 for key, limit in limits.items())


def limits_of(table: CostTable, keys: tuple[str, ...], parts: list[float]) -> dict[str, float]:
    known = [key for key in keys if key in table.keys]
    return {key: part * table.total(key, table.dense) for key, part in zip(known, parts, strict=False)}


@settings(max_examples=80, deadline=None)
@given(table=plain_tables(), parts=shares, keys=several)
def test_by_the_lagrangian_dual(table: CostTable, parts: list[float], keys: tuple[str, ...]) -> None:
    check(table, limits_of(table, keys, parts))


@settings(max_examples=80, deadline=None)
@given(table=tied_tables(), parts=shares, keys=several)
def test_with_width_groups_and_peaks(table: CostTable, parts: list[float], keys: tuple[str, ...]) -> None:
    check(table, limits_of(table, keys, parts))


@settings(max_examples=80, deadline=None)
@given(table=mixed_tables(), parts=shares, most=st.integers(1, 3))
def test_with_a_limit_on_patterns(table: CostTable, parts: list[float], most: int) -> None:
    check(table, limits_of(table, ("params", "weight_memory"), parts), most)


@settings(max_examples=15, deadline=None)
@given(table=plain_tables(), parts=shares)
def test_a_price_is_the_slope_of_the_bound(table: CostTable, parts: list[float]) -> None:
    limits = limits_of(table, ("params", "weight_memory"), parts)
    _, found = relaxed(table, limits)
    if found.status != "solved":
        return
    for key, limit in limits.items():
        _, looser = relaxed(table, {**limits, key: limit + 1.0})
        _, tighter = relaxed(table, {**limits, key: limit - 1.0})
        near = 1e-5 * max(found.bound, 1.0)
        # The bound is convex in the limit, and minus the price is one of its slopes here.
        assert looser.bound >= found.bound - found.prices[key] - near
        if tighter.status == "solved":
            assert tighter.bound >= found.bound + found.prices[key] - near


def test_prices_of_width_groups_and_peaks_are_slopes() -> None:
    rng = np.random.default_rng(0)
    checked = 0
    for seed in range(12):
        table = tied_of(np.random.default_rng(seed))
        limits = {
            key: float(rng.uniform(0.5, 0.95)) * table.total(key, table.dense) for key in ("params", "peak_memory")
        }
        _, found = relaxed(table, limits)
        if found.status != "solved":
            continue
        for key in limits:
            _, looser = relaxed(table, {**limits, key: limits[key] + 0.25})
            assert looser.bound >= found.bound - 0.25 * found.prices[key] - 1e-6
            checked += found.prices[key] > 1e-6
    assert checked > 3


def tied_of(rng: np.random.Generator) -> CostTable:
    """Two layers and three width groups, drawn without hypothesis."""
    from itertools import product

    from advisor.patterns.option import DENSE, Option
    from advisor.planning.table import LevelGroup, Peaks

    levels = (1.0, 0.5)
    pairs = list(product(range(2), range(2)))
    options = (
        DENSE,
        *(Option(pattern="width", density=0.5, parameters={"in": levels[a], "out": levels[b]}) for a, b in pairs[1:]),
    )
    size = np.array([1.0, 0.6, 0.6, 0.3])
    return CostTable(
        layers=("a", "b"),
        options=(options, options),
        costs={key: tuple(rng.uniform(5, 20) * size for _ in "ab") for key in ("params", "weight_memory")},
        loss=tuple(rng.uniform(5, 20) * (1 - size) for _ in "ab"),
        groups=tuple(LevelGroup(name=f"g{g}", levels=levels) for g in range(3)),
        requires=tuple(tuple(((g, a), (g + 1, b)) for a, b in pairs) for g in range(2)),
        peaks=Peaks(base=rng.uniform(0, 5, 3), levels=tuple(rng.uniform(5, 10, (3, 1)) * levels for _ in range(3))),
    )


def test_out_of_time_claims_nothing() -> None:
    table = tied_of(np.random.default_rng(1))
    limits = {"params": 0.6 * table.total("params", table.dense)}
    found = relax(build_program(table, ("params",)), limits, time_limit=-1.0)
    assert found.status in ("time limit", "solved")
    if found.status == "time limit":
        assert found.bound == -np.inf


def test_an_impossible_limit_is_seen_without_solving() -> None:
    table = table_of({"params": [[4, 2], [4, 1]]}, [[0, 1], [0, 3]])
    assert relaxed(table, {"params": 2.9})[1].status == "infeasible"
    assert relaxed(table, {"params": 3.0})[1].bound == pytest.approx(4.0)
