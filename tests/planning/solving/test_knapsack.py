"""One limit: the search over states against trying everything."""

from __future__ import annotations

import time
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.planning.solving.knapsack import search
from advisor.planning.solving.solve import solve
from tests.planning.tables import table_of

numbers = st.integers(0, 12)
layers = st.lists(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=4), min_size=1, max_size=5)


def run(options: list[list[tuple[int, int]]], limit: float, upper: float, **more: float) -> tuple[tuple, float]:  # type: ignore[type-arg]
    costs = [np.array([cost for cost, _ in layer], float) for layer in options]
    losses = [np.array([loss for _, loss in layer], float) for layer in options]
    asked = {"lower": 0.0, "gap": 0.0, "most_states": 100_000, "deadline": time.perf_counter() + 60, **more}
    found = search(losses, costs, limit, upper=upper, **asked)  # type: ignore[arg-type]
    return found.choices, found.bound


@settings(max_examples=200, deadline=None)
@given(options=layers, limit=st.integers(0, 40), cap=st.integers(1, 70))
def test_finds_the_best_below_what_is_known_or_proves_that_there_is_none(
    options: list[list[tuple[int, int]]], limit: int, cap: int
) -> None:
    within = [
        sum(loss for _, loss in chosen) for chosen in product(*options) if sum(cost for cost, _ in chosen) <= limit
    ]
    best = min(within, default=np.inf)
    choices, bound = run(options, float(limit), float(cap))
    if best >= cap:
        assert choices == ()
        assert bound == cap
        return
    chosen = [layer[k] for layer, k in zip(options, choices[0], strict=True)]
    assert sum(cost for cost, _ in chosen) <= limit
    assert sum(loss for _, loss in chosen) == best
    assert best - 1e-9 <= bound <= best


def test_with_too_few_states_it_gives_up_and_claims_no_more_than_it_searched() -> None:
    rng = np.random.default_rng(0)
    options = [list(zip(rng.uniform(0, 10, 6), rng.uniform(0, 10, 6), strict=True)) for _ in range(12)]
    choices, _ = run(options, 30.0, 100.0)  # type: ignore[arg-type]
    best = sum(layer[k][1] for layer, k in zip(options, choices[0], strict=True))
    for more in ({"most_states": 3}, {"deadline": time.perf_counter() - 1}):
        choices, bound = run(options, 30.0, 100.0, **more)  # type: ignore[arg-type]
        assert choices == ()
        assert bound <= best


def test_it_stops_where_the_gap_allows() -> None:
    # Nothing below 9.9 is left after the first part of the search: with a gap of 5 % that is enough for a plan of 10.
    choices, bound = run([[(1, 10)]], 5.0, 10.0, lower=9.5, gap=0.05)
    assert choices == ()
    assert 9.5 < bound < 10.0


def test_layers_that_are_alike_do_not_slow_it_down() -> None:
    # Branch and bound tries their permutations one by one.
    steps = [0.0, 1.0, 2.1, 3.3, 4.7, 6.2]
    table = table_of({"latency": [[9, 7, 5.5, 4.2, 3.1, 2.2]] * 40}, [steps] * 40)
    found = solve(table, {"latency": 200.0}, gap=0.0)
    assert found.status == "optimal"
    assert found.gap == pytest.approx(0.0, abs=1e-9)
    assert table.total("latency", found.choice) <= 200.0


def test_a_peak_without_width_groups_is_a_limit_on_weights() -> None:
    from dataclasses import replace

    from advisor.planning.table import Peaks

    table = table_of({"weight_memory": [[8, 4], [8, 2]]}, [[0, 1], [0, 3]])
    table = replace(table, peaks=Peaks(base=np.array([5.0, 7.0])), constants={"weight_memory": 1.0})
    found = solve(table, {"peak_memory": 21.0}, gap=0.0)
    assert (found.objective, table.total("peak_memory", found.choice)) == (1.0, 20.0)
    assert found.prices["peak_memory"] == pytest.approx(0.25)  # three of the four bytes that the first layer saves
