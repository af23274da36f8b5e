"""A time that every row of a table gains as the session gets older, found among the layers and taken out.

One public table of 16,000 convolutions gains 0.3 ms a call (of 0.06 for the smallest layers) from its first row to its
last on each of four GPUs: nothing of the layers, but of what timed them. Without taking it out no model of shapes can
come within 20 % of a third of its rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from advisor.devices.gpu.shapes import Array

_KNOTS = np.linspace(0.0, 1.0, 9)
_SMALL = 0.15  # share of the rows whose roofline is least: there the drift shows first
_LEAST_ROWS = 300


@dataclass(frozen=True, slots=True)
class Drift:
    """Milliseconds added at nine even positions of a session, linear between; 0 at its start."""

    added_ms: tuple[float, ...] = (0.0,) * len(_KNOTS)

    def __call__(self, order: Array | None, count: int) -> Array:
        """(R,) ms added to each row; 0 where the order is unknown."""
        return np.zeros(count) if order is None else np.interp(order, _KNOTS, self.added_ms)

    def without(self, times: Array, order: Array | None) -> Array:
        """(R,) times with the drift taken out; a tenth of each stays in any case."""
        return np.asarray(np.maximum(times - self(order, len(times)), 0.1 * times))


def first_guess(times: Array, roofline: Array, order: Array | None) -> Drift:
    """From the lower edge of the smallest layers' times along the session; rising only. None without enough rows."""
    if order is None or len(times) < _LEAST_ROWS:
        return Drift()
    small = roofline <= np.quantile(roofline, _SMALL)
    edge = []
    for knot in _KNOTS:
        near = small & (np.abs(order - knot) < 0.08)
        edge.append(float(np.quantile(times[near], 0.1)) if near.sum() >= 5 else np.nan)
    found = np.array(edge)
    if np.isnan(found).any():
        return Drift()
    return _made(np.maximum.accumulate(found))


def refine(drift: Drift, times: Array, predicted: Array, order: Array | None) -> Drift:
    """Fits the knots to what is left of the times beside predictions of layers that the model had not seen.

    Args:
        times: (R,) as measured.
        predicted: (R,) ms without drift, held out.
    """
    if order is None or len(times) < _LEAST_ROWS:
        return drift
    basis = np.array([np.interp(order, _KNOTS, unit) for unit in np.eye(len(_KNOTS))]).T
    weight = 1 / (0.06 * predicted + 0.01)  # a model is off by some percent; a clock by some microseconds
    goal = (times - predicted) * weight
    found = least_squares(lambda x: basis @ x * weight - goal, np.array(drift.added_ms), loss="soft_l1")
    return _made(np.maximum.accumulate(found.x))


def matters(drift: Drift, times: Array) -> bool:
    """Whether the drift is worth taking out: more than 3 % of the median time from end to end."""
    return max(drift.added_ms) > 0.03 * float(np.median(times))


def _made(knots: Sequence[float] | Any) -> Drift:
    return Drift(tuple(round(float(value - knots[0]), 5) for value in knots))
