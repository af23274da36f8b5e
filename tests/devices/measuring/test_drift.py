"""Drift is what records differ by more than their noise, by the power with which work follows the reference."""

from typing import Any

import numpy as np
import pytest

from advisor.devices.measuring.drift import drifts, is_noisy, together
from advisor.devices.measuring.timing import summarize


def record(reference: float, *, slope: float = 1.0, spread: float = 0.005, **more: Any) -> dict[str, Any]:
    return {"key": "pass:0", "reference_ms": reference, "reference_spread": spread, "together": [slope, 1.0]} | more


def test_work_that_follows_the_reference_is_scaled_to_the_quiet_part() -> None:
    found = drifts([record(1.0)] * 6 + [record(1.5)] * 2)
    assert found[0].scale == pytest.approx(1.0, abs=0.01)
    assert found[-1].scale == pytest.approx(1 / 1.5, abs=0.01)
    assert found[-1].slower == pytest.approx(0.5)
    assert is_noisy(record(1.5), found[-1])
    assert not is_noisy(record(1.0), found[0])
    assert is_noisy(record(1.0, waited=0.4), found[0])


def test_work_that_does_not_follow_it_is_left_alone() -> None:
    found = drifts([record(1.0, slope=0.0)] * 6 + [record(1.5, slope=0.0)] * 2)
    assert found[-1].scale == pytest.approx(1.0, abs=0.01)
    alone = [record(r, slope=1.0) | {"key": "linear dense"} for r in (1.0, 1.0, 1.5)]
    mixed = drifts([record(1.0, slope=0.0), record(1.5, slope=0.0), *alone])
    assert mixed[1].scale > 0.98
    assert mixed[-1].scale < 0.7, "each kind of work by itself"


def test_noise_of_the_reference_is_not_divided_out() -> None:
    noisy = drifts([record(r, spread=0.2) for r in (0.95, 1.0, 1.05, 1.0)])
    assert all(one.scale == pytest.approx(1.0, abs=0.02) for one in noisy)


def test_rounds_tell_how_work_follows() -> None:
    generator = np.random.default_rng(0)
    reference = np.exp(0.2 * generator.standard_normal(200))
    xy, xx = together(summarize(reference.tolist()), summarize((3 * reference**0.5).tolist()))
    assert xy / xx == pytest.approx(0.5, rel=1e-6)


def test_records_of_older_journals_are_read() -> None:
    old = [{"key": "linear dense", "reference_ms": r} for r in (1.0, 1.1)]
    assert drifts(old)[1].scale == pytest.approx((1.1 / drifts_quiet(1.0, 1.1)) ** -0.8)


def drifts_quiet(low: float, high: float) -> float:
    return float(np.exp(np.quantile(np.log([low, high]), 0.2)))
