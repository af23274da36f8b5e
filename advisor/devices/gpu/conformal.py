"""Intervals from the errors on held-out rows (split conformal prediction), separately for small and large work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from advisor.devices.gpu.shapes import Array
from advisor.errors import ProfileError

COVERAGE = 0.80
_ROWS_EACH = 60  # residuals per class of sizes, at least
_MOST_CLASSES = 6


@dataclass(frozen=True, slots=True)
class Interval:
    """Where log(true / predicted) lies in 80 of 100 cases.

    Attributes:
        edges: (K - 1,) log of predicted ms that separate the classes of sizes, ascending.
        below, above: (K,) lower and upper bound of each class.
    """

    edges: tuple[float, ...]
    below: tuple[float, ...]
    above: tuple[float, ...]

    def __call__(self, log_ms: Array) -> tuple[Array, Array]:
        """(R,) lower and upper bound of log(true / predicted) for predictions (R,) in log ms."""
        which = np.searchsorted(np.array(self.edges), log_ms)
        return np.array(self.below)[which], np.array(self.above)[which]

    def wider(self, factor: float) -> Interval:
        """The same with both bounds `factor` times as far out."""
        return Interval(self.edges, tuple(factor * x for x in self.below), tuple(factor * x for x in self.above))

    def to_document(self) -> dict[str, Any]:
        return {name: [round(x, 4) for x in getattr(self, name)] for name in ("edges", "below", "above")}

    @classmethod
    def from_document(cls, document: Mapping[str, Any], where: str = "interval") -> Interval:
        """Raises ProfileError where bounds are missing, not finite, or on the wrong side of 0."""
        try:
            parts = [tuple(float(x) for x in document[name]) for name in ("edges", "below", "above")]
        except (KeyError, TypeError, ValueError) as error:
            raise ProfileError(f"{where}: {error}; expected edges, below and above") from error
        edges, below, above = parts
        sound = (
            len(below) == len(above) == len(edges) + 1
            and all(np.isfinite(x) for part in parts for x in part)
            and list(edges) == sorted(edges)
            and all(x <= 0 for x in below)
            and all(x >= 0 for x in above)
        )
        if not sound:
            raise ProfileError(f"{where}: got {below} to {above}; expected bounds around 0 for each class of sizes")
        return cls(edges, below, above)


def conformal(residuals: Array, log_ms: Array) -> Interval:
    """The interval whose tails hold 10 % of the residuals each, corrected for their number.

    Args:
        residuals: (R,) log(true / predicted) of rows that the model had not seen.
        log_ms: (R,) the predictions.
    """
    classes = int(np.clip(len(residuals) // _ROWS_EACH, 1, _MOST_CLASSES))
    edges = np.quantile(log_ms, np.linspace(0, 1, classes + 1)[1:-1]) if classes > 1 else np.array([])
    which = np.searchsorted(edges, log_ms)
    bounds = [_bounds(residuals[which == index]) for index in range(classes)]
    return Interval(tuple(map(float, edges)), tuple(low for low, _ in bounds), tuple(high for _, high in bounds))


def coverage(residuals: Array, log_ms: Array, groups: Array) -> float:
    """Share of residuals inside an interval that was drawn from the other groups' residuals.

    Args:
        groups: (R,) small integers; rows of one group are judged by the interval of the others.
    """
    inside = 0
    for group in np.unique(groups):
        mine = groups == group
        if mine.all():
            return float("nan")
        below, above = conformal(residuals[~mine], log_ms[~mine])(log_ms[mine])
        inside += int(((residuals[mine] >= below) & (residuals[mine] <= above)).sum())
    return inside / len(residuals)


def _bounds(residuals: Array) -> tuple[float, float]:
    n = len(residuals)
    tail = max((1 - COVERAGE) / 2 * (n + 1) / n - 1 / n, 0.0)
    low, high = np.quantile(residuals, [tail, 1 - tail])
    return min(float(low), 0.0), max(float(high), 0.0)
