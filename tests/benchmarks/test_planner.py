"""The planner's rivals do what their descriptions say."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.planning.rivals import dynamic_program, greedy
from benchmarks.planning.synthetic import synthetic
from tests.planning.tables import brute_force, table_of


def test_the_dynamic_program_is_exact_where_nothing_is_rounded() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        cost = rng.integers(0, 20, (5, 4)).astype(float)
        table = table_of({"latency": cost.tolist()}, rng.uniform(0, 1, (5, 4)).tolist())
        limit = float(rng.integers(15, 60))
        choice = dynamic_program(table, "latency", limit, buckets=int(limit))
        best = brute_force(table, {"latency": limit})
        if best is None:
            assert choice is None
            continue
        assert choice is not None
        assert table.total("latency", choice) <= limit
        assert table.objective(choice) == pytest.approx(best)


def test_rounding_lets_it_overspend() -> None:
    # 1.04 rounds to 10 of the buckets of 0.1 each, so ten layers seem to fit into 10.0 and take 10.4.
    table = table_of({"latency": [[1.04, 0.5]] * 10}, [[0.0, 1.0]] * 10)
    choice = dynamic_program(table, "latency", 10.0, buckets=100)
    assert choice is not None
    assert table.objective(choice) == 0.0
    assert table.total("latency", choice) == pytest.approx(10.4)


def test_greedy_rules_stay_within_and_are_not_always_best() -> None:
    table = table_of({"latency": [[10, 6, 1], [10, 4, 3]]}, [[0, 1, 9], [0, 4, 5]])
    limits = {"latency": 12.0}
    for by_step in (False, True):
        choice = greedy(table, limits, by_step=by_step)
        assert choice is not None
        assert table.total("latency", choice) <= 12.0
        assert table.objective(choice) >= 5.0
    assert brute_force(table, limits) == 5.0
    assert greedy(table, {"latency": 3.0}, by_step=False) is None


def test_synthetic_tables_are_tables_of_the_asked_size() -> None:
    table = synthetic(1, 7, 5)
    assert [len(options) for options in table.options] == [5] * 7
    assert table.keys == ("params", "macs", "latency")
    assert table.objective(table.dense) == 0.0
