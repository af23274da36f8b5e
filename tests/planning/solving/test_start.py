"""First choices: within the limits or none, and never needed for the best plan."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.planning.solving.program import Answer, Program, build_program
from advisor.planning.solving.relax import relax
from advisor.planning.solving.solve import solve
from advisor.planning.solving.start import first_choice
from advisor.planning.table import CostTable
from tests.planning.solving.test_relax import tied_of
from tests.planning.tables import brute_force, patterns_of, tied_tables

parts = st.lists(st.floats(0.2, 1.1), min_size=3, max_size=3)


@settings(max_examples=60, deadline=None)
@given(table=tied_tables(), parts=parts, most=st.sampled_from([None, 1]))
def test_a_first_choice_keeps_every_limit(table: CostTable, parts: list[float], most: int | None) -> None:
    limits = {
        key: part * table.total(key, table.dense)
        for key, part in zip(("params", "latency", "peak_memory"), parts, strict=True)
    }
    program = build_program(table, tuple(limits), max_patterns=most)
    relaxed = relax(program, limits, time_limit=10.0)
    choice = first_choice(program, limits, relaxed.prices, relaxed.levels)
    if choice is None:
        return
    assert table.agrees(choice)
    assert all(table.total(key, choice) <= limit for key, limit in limits.items())
    assert most is None or len(patterns_of(table, choice)) <= most
    best = brute_force(table, limits, max_patterns=most)
    assert best is not None
    assert table.objective(choice) >= best


def test_it_is_the_plan_where_the_solver_has_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    table = tied_of(np.random.default_rng(2))
    limits = {key: 0.7 * table.total(key, table.dense) for key in ("params", "peak_memory")}
    best = brute_force(table, limits)
    stopped = Answer(status="time limit", choice=None, bound=-np.inf)
    monkeypatch.setattr(Program, "solve", lambda *_, **__: stopped)
    found = solve(table, limits, gap=0.0, time_limit=0.5)
    assert best is not None
    assert all(table.total(key, found.choice) <= limit for key, limit in limits.items())
    assert found.bound <= best <= found.objective
    assert found.gap == pytest.approx((found.objective - found.bound) / found.objective)
    assert found.status == ("optimal" if found.gap <= 1e-6 else "time limit")
