"""Fits on made-up tables: drift found again, intervals that hold what they say, models that survive JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest

from advisor.devices.gpu.conformal import Interval, conformal, coverage
from advisor.devices.gpu.drift import Drift, first_guess, matters, refine
from advisor.devices.gpu.layer_fit import Known, fit_layers, held_out_error, shape_folds
from advisor.devices.gpu.layer_model import LayerModel
from advisor.devices.gpu.physics import roofline_ms
from advisor.devices.gpu.pool_fit import fit_pool, on
from advisor.errors import ProfileError
from tests.devices.gpu.examples import FACTS, made_up_table


def test_folds_hold_every_batch_of_a_shape_together() -> None:
    table, _ = made_up_table(200)
    folds = shape_folds(table.shapes)
    by_shape: dict[tuple[float, ...], set[int]] = {}
    for key, fold in zip(table.shapes.identities(), folds, strict=True):
        by_shape.setdefault(key, set()).add(int(fold))
    assert all(len(found) == 1 for found in by_shape.values())
    assert set(folds) == {0, 1, 2, 3, 4}


def test_drift_is_found_and_taken_out() -> None:
    table, clean = made_up_table(1500, drift_ms=0.4)
    drift = first_guess(table.times, roofline_ms(table.shapes, FACTS), table.order)
    assert matters(drift, table.times)
    drift = refine(drift, table.times, clean, table.order)
    assert drift.added_ms[0] == 0
    assert drift.added_ms[-1] == pytest.approx(0.4, rel=0.1)
    assert np.median(np.abs(drift.without(table.times, table.order) / clean - 1)) < 0.05


def test_no_drift_is_seen_where_there_is_none() -> None:
    table, _ = made_up_table(1500)
    assert not matters(first_guess(table.times, roofline_ms(table.shapes, FACTS), table.order), table.times)
    assert first_guess(table.times[:50], np.ones(50), table.order) == Drift()
    assert Drift()(None, 3).tolist() == [0, 0, 0]


@pytest.mark.parametrize("count", [100, 2000])
def test_intervals_hold_eighty_of_a_hundred(count: int) -> None:
    generator = np.random.default_rng(0)
    log_ms = generator.uniform(-3, 3, count)
    residuals = generator.standard_t(3, count) * (0.05 + 0.05 * (log_ms < 0))  # small work is noisier
    below, above = conformal(residuals, log_ms)(log_ms)
    fresh_log = generator.uniform(-3, 3, 4000)
    fresh = generator.standard_t(3, 4000) * (0.05 + 0.05 * (fresh_log < 0))
    low, high = conformal(residuals, log_ms)(fresh_log)
    assert ((residuals >= below) & (residuals <= above)).mean() == pytest.approx(0.8, abs=0.06)
    assert ((fresh >= low) & (fresh <= high)).mean() == pytest.approx(0.8, abs=0.08)
    assert coverage(residuals, log_ms, np.arange(count) % 5) == pytest.approx(0.8, abs=0.08)


def test_a_fit_predicts_shapes_that_it_did_not_see_and_says_how_well() -> None:
    table, _ = made_up_table(240, noise=0.04)
    fitted = fit_layers(Known(name="x", table=table, facts=FACTS), trees=30, folds=3)
    error = held_out_error(fitted, table.times, fitted.drift(table.order, len(table)))
    assert float(error["median_percent"]) < 8
    assert 65 <= float(error["coverage_percent"]) <= 93
    document = json.loads(json.dumps(fitted.model.to_document()))
    again = LayerModel.from_document(document, FACTS)
    before, after = fitted.model.times(table.shapes), again.times(table.shapes)
    assert np.allclose(after[0], before[0], rtol=1e-3)
    assert np.all(before[1] <= before[0])
    assert np.all(before[0] <= before[2])
    assert before[3].mean() > 0.95


def test_a_pool_carries_over_to_another_gpu() -> None:
    first, _ = made_up_table(150, seed=1)
    second, _ = made_up_table(150, seed=2)
    group = [Known(name=str(i), table=t, facts=FACTS) for i, t in enumerate((first, second))]
    model = fit_pool(group, {}, [np.ones(150, dtype=bool)] * 2, trees=20)
    fresh, _ = made_up_table(100, seed=3)
    ratio = on(model, FACTS, offset=0.1).times(fresh.shapes)[0] / fresh.times
    assert np.median(ratio) == pytest.approx(np.exp(0.1), rel=0.06)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"features": []}, "features are not those of this version"),
        ({"offset": None}, "missing or no number"),
        ({"interval": {"edges": [], "below": [0.1], "above": [0.2]}}, "expected bounds around 0"),
        ({"low": [1]}, "expected"),
    ],
)
def test_a_layer_model_that_does_not_fit_is_refused(change: dict[str, object], complaint: str) -> None:
    table, _ = made_up_table(80)
    document = fit_layers(Known(name="x", table=table, facts=FACTS), trees=20, folds=2).model.to_document()
    with pytest.raises(ProfileError, match=complaint):
        LayerModel.from_document(document | change, FACTS)


def test_an_interval_survives_json() -> None:
    interval = Interval((0.5,), (-0.1, -0.2), (0.1, 0.3))
    assert Interval.from_document(interval.to_document()) == interval
    assert interval.wider(2).above == (0.2, 0.6)
