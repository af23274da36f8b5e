"""The layer model of a GPU from measured layers, judged on shapes that it did not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from advisor.devices.gpu.conformal import conformal, coverage
from advisor.devices.gpu.drift import Drift, first_guess, matters, refine
from advisor.devices.gpu.facts import Facts
from advisor.devices.gpu.features import feature_matrix
from advisor.devices.gpu.layer_model import LayerModel
from advisor.devices.gpu.physics import Coefficients, physics_ms, roofline_ms, work
from advisor.devices.gpu.physics_fit import fit_physics
from advisor.devices.gpu.shapes import Array, Shapes
from advisor.devices.gpu.table import Table
from advisor.devices.gpu.trees import Trees, from_estimators

FOLDS = 5
_RATE = 0.06
_DEPTH = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Measured layers of one GPU: a table with the facts that go with it."""

    name: str
    table: Table
    facts: Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A layer model and how it did on held-out shapes.

    Attributes:
        model: fitted to every row.
        drift: what the table gained along its session.
        held_out_ms: (R,) predictions of rows whose shapes the fit did not see, drift of their place added.
        folds: (R,) which fold each row was held out in.
    """

    model: LayerModel
    drift: Drift
    held_out_ms: Array
    folds: Array


def shape_folds(shapes: Shapes, count: int = FOLDS, seed: int = 0) -> Array:
    """(R,) fold of each row; rows that differ in the number of images alone share one."""
    keys = shapes.identities()
    distinct = sorted(set(keys))
    order = np.random.default_rng(seed).permutation(len(distinct)) % count
    fold = dict(zip(distinct, order, strict=True))
    return np.array([fold[key] for key in keys])


def fit_layers(known: Known, others: Sequence[Known] = (), *, trees: int = 300, folds: int = FOLDS) -> Fitted:
    """Fits the formula, takes the table's drift out, and boosts trees on what is left.

    Args:
        known: the GPU's own rows.
        others: rows of other GPUs, whose residuals beside their own formulas help where own rows are few.
        trees: how many; fewer rows than 50 a tree take fewer.
        folds: in how many parts shapes are held out.
    """
    table, facts = known.table, known.facts
    fold = shape_folds(table.shapes, folds)
    everything = np.ones(len(table), dtype=bool)
    drift = first_guess(table.times, roofline_ms(table.shapes, facts), table.order)
    if matters(drift, table.times):
        for _ in range(2):
            seen = _held_out(known, others, fold, drift, trees=40)
            drift = refine(drift, table.times, seen, table.order)
    else:
        drift = Drift()
    predicted = _held_out(known, others, fold, drift, trees=trees, own_drift=True)
    model = fit_once(known, others, everything, drift, trees=trees)
    residuals = np.log(table.times / predicted)
    interval = conformal(residuals, np.log(predicted - drift(table.order, len(table))))
    return Fitted(model=replace(model, interval=interval), drift=drift, held_out_ms=predicted, folds=fold)


def fit_once(
    known: Known, others: Sequence[Known], rows: Array, drift: Drift, *, trees: int, seed: int = 0
) -> LayerModel:
    """A layer model from the given rows (bool, (R,)) and other GPUs'; its interval is left open (zero wide)."""
    from advisor.devices.gpu.conformal import Interval

    matrix, goal, weight, physics = _residual(known, rows, drift)
    parts = [(matrix, goal, weight)]
    keys = (
        set() if rows.all() else {k for k, kept in zip(known.table.shapes.identities(), rows, strict=True) if not kept}
    )
    for other in others:
        # A shape that is held out here is held out everywhere.
        theirs = other.table.shapes.identities()
        allowed = np.array([key not in keys for key in theirs])
        if allowed.sum() > 20:
            x, y, w, _ = _residual(other, allowed, Drift())
            parts.append((x, y, w * _others_weight(int(rows.sum()), len(y))))
    x, y, w = (np.concatenate(list(column)) for column in zip(*parts, strict=True))
    grown = boost(x, y, w, count=int(np.clip(len(y) // 3, 20, trees)), seed=seed) if len(y) >= 60 else None
    low, high = matrix.min(axis=0), matrix.max(axis=0)
    return LayerModel(
        facts=known.facts,
        physics=physics,
        trees=grown,
        offset=0.0,
        interval=Interval((), (0.0,), (0.0,)),
        low=tuple(map(int, low)),
        high=tuple(map(int, high)),
    )


def boost(matrix: Array, goal: Array, weight: Array, *, count: int, depth: int = _DEPTH, seed: int = 0) -> Trees:
    """Gradient boosting with few features a split and half the rows a tree, which is what thousands of rows bear."""
    from sklearn.ensemble import GradientBoostingRegressor

    small = len(goal) < 1000
    learner = GradientBoostingRegressor(
        n_estimators=count,
        learning_rate=_RATE,
        max_depth=3 if small else depth,
        max_features=0.2,
        subsample=0.6,
        min_samples_leaf=6,
        random_state=seed,
    )
    learner.fit(matrix, goal, sample_weight=weight)
    start = float(np.ravel(learner.init_.constant_)[0])
    return from_estimators(learner.estimators_[:, 0], scale=_RATE, start=start, columns=matrix.shape[1])


def _residual(known: Known, rows: Array, drift: Drift) -> tuple[Array, Array, Array, Coefficients]:
    """Features, log(time / formula) and weights of the given rows, and the formula's coefficients."""
    table = known.table[rows]
    done = work(table.shapes, known.facts)
    times = drift.without(table.times, table.order)
    physics = fit_physics(done, times)
    # Where drift is most of a time, what is left of it says little.
    weight = np.clip(times / table.times, 0.05, 1.0)
    matrix = feature_matrix(table.shapes, known.facts, done, physics)
    return matrix, np.log(times / physics_ms(done, physics)), weight, physics


def _held_out(
    known: Known, others: Sequence[Known], fold: Array, drift: Drift, *, trees: int, own_drift: bool = False
) -> Array:
    """(R,) ms of every row by a model that did not see its shape; `own_drift` adds the drift of its place."""
    table = known.table
    found = np.empty(len(table))
    for index in np.unique(fold):
        mine = fold == index
        model = fit_once(known, others, ~mine, drift, trees=trees, seed=int(index))
        found[mine] = np.exp(model.log_ms(table.shapes[mine])[0])
    return found + drift(table.order, len(table)) if own_drift else found


def _others_weight(own: int, rows: int) -> float:
    """Other GPUs together never outweigh the own rows by much."""
    return min(1.0, 1.0 * own / rows)


def held_out_error(fitted: Fitted, times: Array, drift_of_rows: Array) -> dict[str, float | int | str]:
    """What a profile says about itself, in percent of the measured time."""
    error = 100 * np.abs(fitted.held_out_ms / times - 1)
    residuals, log_ms = np.log(times / fitted.held_out_ms), np.log(fitted.held_out_ms - drift_of_rows)
    return {
        "method": f"layers whose shapes were held out, {int(fitted.folds.max()) + 1} folds",
        "median_percent": round(float(np.median(error)), 2),
        "mean_percent": round(float(error.mean()), 2),
        "p90_percent": round(float(np.quantile(error, 0.9)), 2),
        "within_10_percent": round(100 * float((error <= 10).mean()), 1),
        "within_20_percent": round(100 * float((error <= 20).mean()), 1),
        "coverage_percent": round(100 * coverage(residuals, log_ms, fitted.folds), 1),
        "count": len(times),
    }
