"""The coefficients of the formula from measured layers."""

from __future__ import annotations

import numpy as np
from scipy.optimize import least_squares

from advisor.devices.gpu.physics import Coefficients, Work, physics_ms
from advisor.devices.gpu.shapes import Array

# name, first guess, lower and upper bound; the middle of the road is a weak prior that keeps few rows from wild values
_FREE = (
    ("gemm", 0.7, 0.05, 1.5),
    ("fused", 0.7, 0.05, 1.5),
    ("split", 0.7, 0.05, 1.5),
    ("tensor", 0.4, 0.02, 1.2),
    ("memory", 0.7, 0.05, 1.3),
    ("launch_ms", 0.02, 0.002, 2.0),
    ("sharpness", 2.0, 0.6, 8.0),
)
_PRIOR = 0.3  # pull on each logarithm, in rows of log error 1


def fit_physics(done: Work, times: Array, *, rows_each: Array | None = None) -> Coefficients:
    """Least squares of log(measured / formula), robust against single rows.

    Args:
        done: (R,) of the measured layers.
        times: (R,) ms.
        rows_each: (R,) weights; 1 where None.
    """
    goal = np.log(times)
    weight = np.ones(len(times)) if rows_each is None else np.sqrt(rows_each)
    guess = np.log([first for _, first, _, _ in _FREE])

    def build(x: Array) -> Coefficients:
        return Coefficients(**{name: float(np.exp(v)) for (name, *_), v in zip(_FREE, x, strict=True)})

    def errors(x: Array) -> Array:
        return np.concatenate([weight * (np.log(physics_ms(done, build(x))) - goal), _PRIOR * (x - guess)])

    low, high = (np.log([row[i] for row in _FREE]) for i in (2, 3))
    start = guess.copy()
    start[5] = np.clip(np.log(0.5 * float(times.min())), low[5] + 1e-6, high[5] - 1e-6)
    found = least_squares(errors, start, bounds=(low, high), loss="soft_l1", f_scale=0.3, max_nfev=60)
    return build(found.x)
