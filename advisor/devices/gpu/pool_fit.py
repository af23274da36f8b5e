"""One layer model from several GPUs, for a GPU that nobody measured or that was measured once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from advisor.devices.gpu.conformal import Interval
from advisor.devices.gpu.drift import Drift
from advisor.devices.gpu.facts import Facts
from advisor.devices.gpu.features import feature_matrix
from advisor.devices.gpu.layer_fit import Known, boost
from advisor.devices.gpu.layer_model import LayerModel
from advisor.devices.gpu.physics import Coefficients, physics_ms, work
from advisor.devices.gpu.physics_fit import fit_physics
from advisor.devices.gpu.shapes import Array


def fit_pool(
    known: Sequence[Known], drifts: Mapping[str, Drift], rows: Sequence[Array], *, trees: int = 200, seed: int = 0
) -> LayerModel:
    """The middle formula of several GPUs, and trees on what all of them have in common beside it.

    Each GPU's own median residual is taken out before, so that the trees learn shapes, not GPUs; its facts are those
    of the first GPU until `on` puts another's in. The interval is left open (zero wide).

    Args:
        known: measured layers of each GPU.
        drifts: by `Known.name`; none where it is missing.
        rows: beside `known`, bool (R,): which rows to learn from.
    """
    tables = [item.table[kept] for item, kept in zip(known, rows, strict=True)]
    clean = [
        drifts.get(item.name, Drift()).without(table.times, table.order)
        for item, table in zip(known, tables, strict=True)
    ]
    done = [work(table.shapes, item.facts) for item, table in zip(known, tables, strict=True)]
    physics = middle([fit_physics(w, times) for w, times in zip(done, clean, strict=True)])
    matrices, goals, weights = [], [], []
    for item, table, times, parts in zip(known, tables, clean, done, strict=True):
        goal = np.log(times / physics_ms(parts, physics))
        matrices.append(feature_matrix(table.shapes, item.facts, parts, physics))
        goals.append(goal - np.median(goal))
        # Every GPU says as much as every other, and drifted rows say less.
        weights.append(np.clip(times / table.times, 0.05, 1.0) / max(len(times), 300) * 1000)
    matrix, goal, weight = np.concatenate(matrices), np.concatenate(goals), np.concatenate(weights)
    return LayerModel(
        facts=known[0].facts,
        physics=physics,
        trees=boost(matrix, goal, weight, count=trees, seed=seed),
        offset=0.0,
        interval=Interval((), (0.0,), (0.0,)),
        low=tuple(map(int, matrix.min(axis=0))),
        high=tuple(map(int, matrix.max(axis=0))),
    )


def on(model: LayerModel, facts: Facts, *, offset: float = 0.0, interval: Interval | None = None) -> LayerModel:
    """The same model on another GPU, perhaps with the logarithm of a measured factor and an interval of its own."""
    return LayerModel(
        facts=facts,
        physics=model.physics,
        trees=model.trees,
        offset=offset,
        interval=interval or model.interval,
        low=model.low,
        high=model.high,
    )


def middle(found: Sequence[Coefficients]) -> Coefficients:
    """Geometric mean of each coefficient."""
    rows = [item.to_document() for item in found]
    return Coefficients(**{name: float(np.exp(np.mean([np.log(r[name]) for r in rows]))) for name in rows[0]})
