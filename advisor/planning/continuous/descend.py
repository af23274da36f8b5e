"""The best densities along curves, by a local method: sequential quadratic programming, or an interior point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import NonlinearConstraint, minimize

from advisor.planning.continuous.curves import Curve, Varying
from advisor.planning.solving.interrupt import interruptibly
from advisor.planning.table import Choice, CostTable

Floats = NDArray[np.float64]

_DENSE_ALGEBRA = 250  # variables; SLSQP takes their cube for each step
_STEPS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxed:
    """Densities along curves, in the curves' order, and what they lose; `steps` of the optimiser."""

    densities: tuple[float, ...]
    objective: float
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Limit:
    """Σ costs along the curves ≤ room."""

    key: str
    room: float
    size: float  # what rows are divided by


def descend(
    table: CostTable, choice: Choice, curves: Sequence[Curve], limits: Mapping[str, float], varying: Varying
) -> Relaxed:
    """Minimises Σ loss(d) under Σ cost(d) ≤ limit from a choice's densities, over ln d within each curve.

    The curves need not be convex, so this is a local optimum. It is never worse than the choice.

    Args:
        table: of the choice, for what the other layers cost.
        choice: (L,) within the limits.
        curves: of layers that may move.
        limits: cost → upper limit.
        varying: what the choice's options really keep.
    """
    start = np.log([varying.share(c.layer, table.options[c.layer][choice[c.layer]]) for c in curves])
    moving = {curve.layer for curve in curves}
    rest = fsum(float(table.loss[layer][k]) for layer, k in enumerate(choice) if layer not in moving)
    rest += table.objective(choice) - fsum(float(table.loss[layer][k]) for layer, k in enumerate(choice))
    if not curves:
        return Relaxed(densities=(), objective=table.objective(choice), steps=0)
    rows = [_limit(table, choice, curves, key, limit) for key, limit in limits.items()]
    unit = max(abs(_loss(curves, start)), 1e-12)
    bounds = [(float(np.log(curve.densities[0])), float(np.log(curve.densities[-1]))) for curve in curves]

    def objective(logs: Floats) -> float:
        return _loss(curves, logs) / unit

    def gradient(logs: Floats) -> Floats:
        return np.array([float(c.loss(x, 1)) for c, x in zip(curves, logs, strict=True)]) / unit

    def room(logs: Floats) -> Floats:
        densities = np.exp(logs)
        return np.array([(row.room - _cost(curves, row.key, densities)) / row.size for row in rows])

    def slopes(logs: Floats) -> Floats:
        densities = np.exp(logs)
        return np.array(
            [
                [-float(c.costs[row.key](d, 1)) * d / row.size for c, d in zip(curves, densities, strict=True)]
                for row in rows
            ]
        ).reshape(len(rows), len(curves))

    def bend(logs: Floats) -> sparse.spmatrix:
        return sparse.diags([float(c.loss(x, 2)) / unit for c, x in zip(curves, logs, strict=True)])

    def bends(logs: Floats, weights: Floats) -> sparse.spmatrix:
        # d²c/d(ln d)² = c'' d² + c' d
        found = np.zeros(len(curves))
        for row, weight in zip(rows, weights, strict=True):
            for place, (curve, d) in enumerate(zip(curves, np.exp(logs), strict=True)):
                cost = curve.costs[row.key]
                found[place] -= weight * (float(cost(d, 2)) * d * d + float(cost(d, 1)) * d) / row.size
        return sparse.diags(found)

    if len(curves) <= _DENSE_ALGEBRA:
        found = interruptibly(
            minimize,
            objective,
            start,
            jac=gradient,
            bounds=bounds,
            method="SLSQP",
            constraints=[{"type": "ineq", "fun": room, "jac": slopes}] if rows else (),
            options={"maxiter": _STEPS, "ftol": 1e-9},
        )
    else:
        found = interruptibly(
            minimize,
            objective,
            start,
            jac=gradient,
            bounds=bounds,
            method="trust-constr",
            hess=bend,
            constraints=[NonlinearConstraint(room, 0.0, np.inf, jac=slopes, hess=bends)] if rows else (),
            options={"maxiter": _STEPS},
        )
    lower, upper = np.array(bounds).T
    logs = np.clip(found.x, lower, upper)
    if not np.isfinite(logs).all() or (rows and room(logs).min() < -1e-6) or _loss(curves, logs) > _loss(curves, start):
        logs = start
    return Relaxed(densities=tuple(np.exp(logs).tolist()), objective=rest + _loss(curves, logs), steps=int(found.nit))


def _loss(curves: Sequence[Curve], logs: Floats) -> float:
    return fsum(float(curve.loss(x)) for curve, x in zip(curves, logs, strict=True))


def _cost(curves: Sequence[Curve], key: str, densities: Floats) -> float:
    return fsum(float(curve.costs[key](d)) for curve, d in zip(curves, densities, strict=True))


def _limit(table: CostTable, choice: Choice, curves: Sequence[Curve], key: str, limit: float) -> _Limit:
    column = "weight_memory" if key == "peak_memory" else key
    moved = fsum(float(table.costs[column][curve.layer][choice[curve.layer]]) for curve in curves)
    room = limit - table.total(key, choice) + moved
    return _Limit(key=column, room=room, size=max(abs(room), moved, 1e-12))
