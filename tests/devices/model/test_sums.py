import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.devices.model.sums import Between, Counts, between, fit_coefficients, fit_spread
from tests.devices.formula import operator, recording, view

PLANTED = np.array([3.0, 1.5, 4.0, 20.0, 0.03])
NO_SPREAD = (0.01, 0.0, -1.0, 1.0)


def drawn(rng: np.random.Generator) -> Counts:
    return Counts(
        kernels=int(rng.integers(5, 300)),
        views=int(rng.integers(0, 200)),
        module_calls=int(rng.integers(5, 400)),
        fresh_mb=float(rng.uniform(0.1, 200)),
    )


def test_planted_coefficients_are_found_again() -> None:
    rng = np.random.default_rng(0)
    counts = [drawn(rng) for _ in range(200)]
    steps = rng.uniform(1, 50, 200)
    whole = np.array([ms + c.row(ms) @ PLANTED for c, ms in zip(counts, steps, strict=True)])
    assert fit_coefficients(counts, steps, whole) == pytest.approx(PLANTED, rel=1e-6)
    noisy = whole * np.exp(0.01 * rng.standard_normal(200))
    assert fit_coefficients(counts, steps, noisy) == pytest.approx(PLANTED, rel=0.35)


def test_no_coefficient_is_below_zero_even_where_wholes_are_shorter_than_their_steps() -> None:
    rng = np.random.default_rng(1)
    counts, steps = [drawn(rng) for _ in range(30)], rng.uniform(1, 50, 30)
    assert (fit_coefficients(counts, steps, 0.9 * steps) >= 0).all()


@given(st.integers(0, 10**6), st.floats(1e-3, 1e4))
def test_a_whole_is_its_steps_and_what_lies_between(seed: int, steps_ms: float) -> None:
    counts = drawn(np.random.default_rng(seed))
    found = between(PLANTED, NO_SPREAD)
    wanted = (
        3.0 * counts.kernels / 1e3 + 1.5 * counts.views / 1e3 + 4.0 * counts.module_calls / 1e3
        + 20.0 * counts.fresh_mb / 1e3 + 0.03 * steps_ms
    )  # fmt: skip
    assert found.ms(counts, steps_ms) == pytest.approx(wanted)
    assert Between(**found.to_json()) == found


def test_what_is_counted_of_a_run() -> None:
    steps = (
        operator("relu", ((1, 1000),), (1, 1000)),
        operator("relu", ((1, 1000),), (1, 1000), in_place=True),
        view((1, 1000), (1000,)),
    )
    assert Counts.of_steps(steps, 7) == Counts(kernels=2, views=1, module_calls=7, fresh_mb=0.004)
    assert Counts.of(recording(1)) == Counts.of_steps(recording(1).steps, recording(1).module_calls)


@pytest.mark.parametrize(("common", "single"), [(0.05, 0.0), (0.02, 0.4), (0.0, 0.3)])
def test_intervals_of_wholes_hold_four_of_five(common: float, single: float) -> None:
    """Many equal steps err less than one: the width goes with how the time is spread, and holds for both kinds."""
    rng = np.random.default_rng(2)

    def runs(count: int) -> tuple[np.ndarray, np.ndarray]:
        shares = np.exp(rng.uniform(np.log(0.01), np.log(0.8), count))
        return np.sqrt(common**2 + single**2 * shares) * rng.standard_normal(count), shares

    found = between(np.zeros(5), fit_spread(*runs(600)))
    errors, shares = runs(6000)
    for held in (shares < 0.05, shares > 0.3, shares > 0):
        ends = np.array([found.ends(1.0, float(share)) for share in shares[held]])
        measured = np.exp(errors[held])
        coverage = float(((measured >= ends[:, 0]) & (measured <= ends[:, 1])).mean())
        assert 0.74 <= coverage <= 0.86, coverage


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30), st.integers(0, 100))
@settings(max_examples=50, deadline=None)
def test_any_errors_make_an_interval(errors: list[float], seed: int) -> None:
    shares = np.random.default_rng(seed).uniform(0.01, 1, len(errors))
    common, single, below, above = fit_spread(np.array(errors), shares)
    assert common > 0
    assert single >= 0
    assert np.isfinite([common, single, below, above]).all()
    assert below <= above
    low, high = between(np.zeros(5), (common, single, below, above)).ends(2.0, 0.5)
    assert 0 < low <= high


def test_a_wider_interval_is_wider() -> None:
    found = between(np.zeros(5), (0.1, 0.2, -1.2, 1.3))
    low, high = found.ends(10.0, 0.5)
    wide_low, wide_high = found.ends(10.0, 0.5, widened=2.0)
    assert wide_low < low < 10.0 < high < wide_high
    assert found.sigma(0.0) == pytest.approx(0.1)
    assert found.sigma(1.0) == pytest.approx(np.hypot(0.1, 0.2))
