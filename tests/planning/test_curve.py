"""Losses between measured points: rising, interpolated, and measured where it tells most."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from advisor.planning.sensitivity.curve import loss_at, rising, spread


def test_pooling_is_the_closest_rising_sequence() -> None:
    assert rising([1.0, 3.0, 2.0, 5.0]).tolist() == [1, 2.5, 2.5, 5]
    assert rising([3.0, 2.0, 1.0]).tolist() == [2, 2, 2]
    assert rising([]).tolist() == []


@settings(deadline=None)
@given(st.lists(st.floats(-10, 10), min_size=1, max_size=8))
def test_pooling_agrees_with_scikit_learn(values: list[float]) -> None:
    exact = IsotonicRegression().fit_transform(np.arange(len(values)), values)
    assert rising(values) == pytest.approx(exact, abs=1e-9)


def test_losses_pass_through_the_points_and_the_dense_network() -> None:
    points = [(0.25, 0.4), (0.5, 0.1)]
    assert loss_at([1.0, 0.5, 0.25], points) == pytest.approx([0.0, 0.1, 0.4])
    assert loss_at([np.sqrt(0.125)], points) == pytest.approx([0.25])  # halfway in the logarithm
    assert loss_at([0.125], points) == pytest.approx([0.7])  # at the last slope
    assert loss_at([0.75, 0.5], [(0.5, -0.2)]).tolist() == [0, 0]  # a gain is no loss


@given(
    st.lists(st.tuples(st.floats(0.01, 0.99), st.floats(-1, 1)), min_size=1, max_size=4, unique_by=lambda p: p[0]),
    st.lists(st.floats(0.005, 1.0), min_size=2, max_size=6),
)
def test_losses_never_fall_as_more_goes(points: list[tuple[float, float]], shares: list[float]) -> None:
    ordered = sorted(shares, reverse=True)
    found = loss_at(ordered, points)
    assert (found >= 0).all()
    assert (np.diff(found) >= -1e-12).all()


def test_tries_are_spread_and_hold_the_smallest_share() -> None:
    assert spread([0.5, 1.0, 0.5], 3) == (0.5,)
    assert spread([0.75, 0.5, 0.25, 0.125, 0.0625], 3) == (0.0625, 0.25, 0.75)
    assert spread([1.0], 3) == ()
