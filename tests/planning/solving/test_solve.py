"""The solver against trying everything."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from advisor.errors import BudgetError
from advisor.patterns.option import DENSE, Option
from advisor.planning.solving.program import Answer, Program
from advisor.planning.solving.relax import Relaxation
from advisor.planning.solving.solve import solve
from advisor.planning.table import CostTable
from tests.planning.tables import brute_force, plain_tables, table_of, tied_tables

shares = st.lists(st.floats(0.0, 1.1), min_size=4, max_size=4)


def check(table: CostTable, limits: dict[str, float]) -> None:
    best = brute_force(table, limits)
    if best is None:
        with pytest.raises(BudgetError, match=r"smallest reachable|exclude each other|cannot be met together"):
            solve(table, limits)
        return
    found = solve(table, limits, gap=0.0)
    assert all(table.total(key, found.choice) <= limit for key, limit in limits.items())
    assert found.objective == pytest.approx(best, abs=1e-9)
    assert found.bound <= found.objective
    assert found.gap == pytest.approx(0.0, abs=1e-6)
    assert found.status == "optimal"
    assert table.objective(found.choice) == found.objective


@settings(max_examples=60, deadline=None)
@given(table=plain_tables(), parts=shares)
def test_equals_brute_force(table: CostTable, parts: list[float]) -> None:
    check(table, {key: part * table.total(key, table.dense) for key, part in zip(table.keys, parts, strict=False)})


@settings(max_examples=60, deadline=None)
@given(
    table=tied_tables(), parts=shares, which=st.sets(st.sampled_from(["params", "latency", "peak_memory"]), min_size=1)
)
def test_equals_brute_force_with_width_groups_and_peaks(table: CostTable, parts: list[float], which: set[str]) -> None:
    limits = {key: part * table.total(key, table.dense) for key, part in zip(sorted(which), parts, strict=False)}
    check(table, limits)


@settings(max_examples=30, deadline=None)
@given(table=plain_tables(), parts=shares, asked=st.floats(0.0, 0.5))
def test_gap_and_bound_are_honest(table: CostTable, parts: list[float], asked: float) -> None:
    limits = {key: part * table.total(key, table.dense) for key, part in zip(table.keys, parts, strict=False)}
    best = brute_force(table, limits)
    if best is None:
        return
    found = solve(table, limits, gap=asked)
    assert found.bound <= best + 1e-6
    assert found.objective <= best + asked * abs(found.objective) + 1e-6
    assert found.gap <= asked + 1e-6


def test_a_budget_met_exactly_is_met() -> None:
    table = table_of({"params": [[3, 2], [5, 1]]}, [[0, 1], [0, 1]])
    assert solve(table, {"params": 7.0}).objective == 1.0
    assert solve(table, {"params": 3.0}).objective == 2.0


def test_a_choice_over_by_less_than_the_solvers_tolerance_is_not_taken() -> None:
    # Over by one part in 1e12: HiGHS lets it through, the raw table does not.
    over = 1.0 + 1e-12
    table = table_of({"latency": [[2.0, over, 0.5], [2.0, over, 0.75]]}, [[0, 1, 9], [0, 1, 8]])
    found = solve(table, {"latency": 2.0}, gap=0.0)
    assert table.total("latency", found.choice) <= 2.0
    assert found.objective == brute_force(table, {"latency": 2.0}) == 9.0
    assert found.bound <= 9.0


def test_many_choices_over_by_a_hair_end_in_one_within() -> None:
    # 2^7 choices cost 7e-13 too much at most: excluding one by one is given up, the limit shrinks.
    hair = 1.0 + 1e-13
    table = table_of({"latency": [[hair, hair * (1 + 1e-15), 0.9] for _ in range(7)]}, [[0.0, 0.0, 1.0]] * 7)
    found = solve(table, {"latency": 7.0}, gap=0.0)
    assert table.total("latency", found.choice) <= 7.0
    assert found.objective == 1.0


def test_small_objectives_are_solved_to_the_gap_too() -> None:
    # HiGHS' absolute gap of 1e-6 must not hide a difference that matters.
    rng = np.random.default_rng(1)
    cost = rng.integers(1, 1000, (8, 3)).astype(float)
    loss = rng.uniform(0, 1e-9, (8, 3))
    table = table_of({"params": cost.tolist()}, loss.tolist())
    limits = {"params": float(cost.mean(axis=1).sum())}
    assert solve(table, limits, gap=0.0).objective == pytest.approx(brute_force(table, limits), rel=1e-6)


def test_no_limit_at_all_gives_the_least_loss() -> None:
    table = table_of({"params": [[3, 2]]}, [[0, 1]])
    found = solve(table, {})
    assert (found.objective, found.gap, found.choice.tolist()) == (0.0, 0.0, [0])


def test_unknown_cost_is_refused_with_the_known_ones() -> None:
    table = table_of({"params": [[3, 2]]}, [[0, 1]])
    with pytest.raises(BudgetError, match=r"unknown cost of this table 'macs'.*params"):
        solve(table, {"macs": 1.0})


def hard_table(layers: int = 60, options: int = 30) -> CostTable:
    rng = np.random.default_rng(3)
    cost = rng.integers(1, 10**6, (layers, options)).astype(float)
    return CostTable(
        layers=tuple(f"layer{i}" for i in range(layers)),
        options=tuple(
            (DENSE, *(Option(pattern="channel", density=k / options) for k in range(1, options))) for _ in range(layers)
        ),
        costs={"params": tuple(cost), "macs": tuple(cost[:, ::-1] + rng.integers(0, 10**6, cost.shape))},
        loss=tuple(1e6 / cost + rng.uniform(0, 1, cost.shape)),
    )


def test_a_time_limit_is_kept_and_the_gap_is_said() -> None:
    table = hard_table()
    limits = {key: sum(float(np.median(c)) for c in table.costs[key]) for key in table.keys}
    found = solve(table, limits, gap=0.0, time_limit=1.0)
    assert found.seconds < 20
    assert found.gap == (found.objective - found.bound) / found.objective
    assert found.status == "time limit" or found.gap < 1e-6
    assert all(table.total(key, found.choice) <= limit for key, limit in limits.items())


def test_stopped_early_is_never_called_optimal(monkeypatch: pytest.MonkeyPatch) -> None:
    table = table_of({"params": [[4, 2], [4, 1]]}, [[0, 1], [0, 3]])

    def stopped(self: Program, limits: object, **_: object) -> Answer:
        return Answer(status="time limit", choice=np.array([1, 1]), bound=1.0)

    out_of_time = Relaxation(status="time limit", bound=-np.inf)
    monkeypatch.setattr("advisor.planning.solving.solve.relax", lambda *_, **__: out_of_time)
    monkeypatch.setattr(Program, "solve", stopped)
    found = solve(table, {"params": 6.0})
    assert found.status == "time limit"
    assert (found.objective, found.bound, found.gap) == (4.0, 1.0, 0.75)

    monkeypatch.setattr(Program, "solve", lambda *_, **__: Answer(status="time limit", choice=None, bound=0.0))
    with pytest.raises(BudgetError, match=r"no plan found within 60 s; raise the time limit"):
        solve(table, {"params": 6.0})


@settings(max_examples=20, deadline=None)
@given(table=tied_tables(), part=st.floats(0.3, 1.0), blind=st.booleans())
def test_out_of_time_with_width_groups_a_plan_near_one_factor_is_improved(
    table: CostTable, part: float, blind: bool
) -> None:
    # The solver stops at once on the whole program, without a plan or with a poor one, and works on smaller ones.
    limits = {"peak_memory": part * table.total("peak_memory", table.dense)}
    best = brute_force(table, limits)
    exact = Program.solve

    def hurried(self: Program, limits: dict[str, float], *, levels: object = None, **more: object) -> Answer:
        answer = exact(self, limits, levels=levels, **more)  # type: ignore[arg-type]
        if levels is not None or more.get("minimise") or answer.choice is None:
            return answer
        return Answer(status="time limit", choice=None if blind else answer.choice, bound=0.0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Program, "solve", hurried)
        if best is None:
            with pytest.raises(BudgetError, match=r"smallest reachable"):
                solve(table, limits, gap=0.0)
            return
        try:
            found = solve(table, limits, gap=0.0)
        except BudgetError:
            assume(False)  # no plan near one factor: said so, as it must
    assert table.total("peak_memory", found.choice) <= limits["peak_memory"]
    assert found.bound <= best <= found.objective
    assert found.status == ("optimal" if found.gap <= 1e-6 else "time limit")
