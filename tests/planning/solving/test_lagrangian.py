"""The Lagrangian dual against the linear program, and what it makes of large tables."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog

from advisor.planning.solving.lagrangian import dual
from advisor.planning.solving.repair import Grid, repaired


def drawn(seed: int, layers: int, options: int, limits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Losses, costs that start at 0 in each layer, and limits of four fifths of their means."""
    rng = np.random.default_rng(seed)
    loss = rng.uniform(0, 1, (layers, options))
    costs = rng.uniform(0, 1000, (limits, layers, options))
    costs -= costs.min(axis=2, keepdims=True)
    return loss.ravel(), costs.reshape(limits, -1), 0.8 * costs.mean(axis=2).sum(axis=1)


@pytest.mark.parametrize("limits", [1, 2, 3, 5])
def test_its_maximum_is_that_of_the_linear_program(limits: int) -> None:
    for seed in range(5):
        loss, costs, most = drawn(seed, 12, 6, limits)
        found = dual(loss, costs, most, np.full(12, 6), time_limit=30.0)
        layers = np.kron(np.eye(12), np.ones(6))
        exact = linprog(loss, A_ub=costs, b_ub=most, A_eq=layers, b_eq=np.ones(12))
        assert found.bound <= exact.fun * (1 + 1e-9)
        assert found.bound == pytest.approx(exact.fun, rel=1e-5)
        assert np.all(found.multipliers >= 0)
        assert np.all(found.reduced >= 0)


def test_the_bound_is_the_dual_function_at_its_multipliers() -> None:
    loss, costs, most = drawn(0, 10, 5, 2)
    found = dual(loss, costs, most, np.full(10, 5), time_limit=30.0)
    value = (loss + found.multipliers @ costs).reshape(10, 5).min(axis=1).sum() - found.multipliers @ most
    assert found.bound == pytest.approx(value, rel=1e-12)


def test_layers_of_unequal_length() -> None:
    loss = np.array([0.0, 5.0, 0.0, 1.0, 4.0])
    costs = np.array([[10.0, 0.0, 10.0, 5.0, 0.0]])
    found = dual(loss, costs, np.array([10.0]), np.array([2, 3]), time_limit=30.0)
    assert found.bound == pytest.approx(3.5)  # half of the first layer's saving, and the second's middle option
    assert found.places is not None
    assert found.places.tolist() == [0, 2]


def test_thousands_of_layers_come_close_and_stay_within() -> None:
    loss, costs, most = drawn(3, 3000, 10, 3)
    found = dual(loss, costs, most, np.full(3000, 10), time_limit=60.0)
    assert found.places is not None
    grid = Grid.of(loss, costs, most, np.full(3000, 10))
    assert np.all(grid.used(found.places) <= most)
    value = grid.total(found.places)
    assert 0 <= (value - found.bound) / value < 5e-3


def test_limits_that_exclude_each_other() -> None:
    # Each option is cheap in one cost only: both limits can be kept alone, not together.
    costs = np.array([[1000.0, 0.0] * 3, [0.0, 1000.0] * 3])
    found = dual(np.array([0.0, 1.0] * 3), costs, np.array([1000.0, 1000.0]), np.full(3, 2), time_limit=30.0)
    assert found.is_infeasible
    assert found.bound == np.inf


def test_without_limits_each_layer_takes_its_best() -> None:
    found = dual(np.array([2.0, 1.0, 0.5]), np.zeros((0, 3)), np.zeros(0), np.array([2, 1]), time_limit=30.0)
    assert (found.bound, found.places.tolist() if found.places is not None else None) == (1.5, [1, 0])


def test_a_choice_over_its_limits_is_repaired_and_what_is_left_is_spent() -> None:
    loss, costs, most = drawn(1, 40, 8, 2)
    grid = Grid.of(loss, costs, most, np.full(40, 8))
    greedy = grid.loss.argmin(axis=1)
    assert np.any(grid.used(greedy) > most)
    mended = repaired(grid, greedy, np.full(2, 1e-4))
    assert mended is not None
    assert np.all(grid.used(mended) <= most)
    rows = np.arange(40)
    spare = most - grid.used(mended)
    more = grid.costs - grid.costs[:, rows, mended][:, :, None]
    better = grid.loss < grid.loss[rows, mended][:, None]
    assert not np.any(better & np.all(more <= spare[:, None, None], axis=0))  # no single exchange is left to make


def test_nothing_to_repair_with() -> None:
    grid = Grid.of(np.zeros(2), np.array([[5.0, 4.0]]), np.array([3.0]), np.array([2]))
    assert repaired(grid, np.array([0]), np.zeros(1)) is None
