"""Sparse layers of one GPU: how their time relates to the dense layer's, fitted to measured ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from advisor.devices.gpu.conformal import Interval, conformal
from advisor.devices.gpu.shapes import Array
from advisor.errors import ProfileError

if TYPE_CHECKING:
    from advisor.runtime.execution import Execution

LEAST = 12  # measured layers of a method from which it has a model
_FEATURES = ("one", "density", "block", "places", "inputs", "outputs", "taps")
_RIDGE = 0.3
_FOLDS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseTimes:
    """log(ms / ms of the dense layer) = coefficients . features, for one method.

    Attributes:
        coefficients: (F,) beside `_FEATURES`, logarithms but for the first; that of the density is at least 0.
        interval: of log(true / predicted).
    """

    coefficients: tuple[float, ...]
    interval: Interval

    def log_ratio(self, execution: Execution) -> float:
        return float(_features(execution) @ np.array(self.coefficients))

    def to_document(self) -> dict[str, Any]:
        return {"coefficients": [round(x, 4) for x in self.coefficients], "interval": self.interval.to_document()}

    @classmethod
    def from_document(cls, document: Mapping[str, Any], where: str) -> SparseTimes:
        """Raises ProfileError for what is missing or no number."""
        try:
            coefficients = tuple(float(x) for x in document["coefficients"])
            interval = document["interval"]
        except (KeyError, TypeError, ValueError) as error:
            raise ProfileError(f"{where}: {error}; expected coefficients and interval") from error
        if len(coefficients) != len(_FEATURES) or not np.isfinite(coefficients).all():
            raise ProfileError(f"{where}: {len(coefficients)} coefficients, expected {len(_FEATURES)} numbers")
        return cls(coefficients=coefficients, interval=Interval.from_document(interval, where))


def dense_of(execution: Execution) -> Execution:
    """The dense layer that a sparse one thins out."""
    return replace(execution, method="dense", kept=0, block=0)


def fit_sparse(executions: Sequence[Execution], ms: Array, dense_ms: Array) -> tuple[SparseTimes, Array]:
    """Fits one method.

    Args:
        executions: E of them, `LEAST` or more.
        ms: (E,) measured.
        dense_ms: (E,) of the dense layers, as the layer model has them.

    Returns:
        The model, and (E,) log(measured / predicted) of each by a fit that did not see it.
    """
    features = np.array([_features(e) for e in executions])
    goal = np.log(ms / dense_ms)
    fold = np.random.default_rng(0).permutation(len(goal)) % min(_FOLDS, len(goal))
    residuals = np.empty(len(goal))
    for index in np.unique(fold):
        out = fold == index
        residuals[out] = goal[out] - features[out] @ _fit(features[~out], goal[~out])
    found = _fit(features, goal)
    return SparseTimes(coefficients=tuple(map(float, found)), interval=conformal(residuals, np.log(ms))), residuals


def _fit(features: Array, goal: Array) -> Array:
    """Ridge towards nothing but a constant; a layer of fewer connections is never slower for it."""
    firm = np.full(features.shape[1], _RIDGE)
    firm[0] = 1e-3
    density = _FEATURES.index("density")
    found = np.linalg.solve(features.T @ features + np.diag(firm), features.T @ goal)
    if found[density] < 0:
        rest = [i for i in range(features.shape[1]) if i != density]
        part = features[:, rest]
        found = np.zeros(features.shape[1])
        found[rest] = np.linalg.solve(part.T @ part + np.diag(firm[rest]), part.T @ goal)
    return found


def _features(e: Execution) -> Array:
    """(F,) near 0 for a usual layer."""
    kept = e.kept / max(e.out_channels // e.block, 1) if e.method == "direct" else e.kept
    places = prod(e.output_shape) / e.out_channels
    return np.array(
        [
            1.0,
            np.log(kept / e.weight_shape[1]),
            np.log(e.block / 32),
            np.log(places / 10_000),
            np.log(e.weight_shape[1] / 256),
            np.log(e.out_channels / 256),
            np.log(prod(e.weight_shape[2:])),
        ]
    )
