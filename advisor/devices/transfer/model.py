"""How the times of two machines differ: a smooth function of what the work is, shrunk towards one factor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np

from advisor.devices.transfer.features import Floats, Scale

_FLAT = 100.0  # variance of the factor: nothing is assumed about how much faster a machine is
_FEWEST = 5  # times below which one factor is all that is learned
_GAIN = 0.97  # richer models must come below this share of one factor's left-out error
_BLIND = math.log(2.0)
_MOST = 1000  # rows that are fitted; more add nothing to a smooth function
_SEARCH = 300  # rows by which the models are judged
_COMMITTEE = 20  # the best models, averaged: choosing one by 30 times is luck
_WITHIN = 0.80


@dataclass(frozen=True, slots=True)
class Smoothness:
    """What a model assumes, as variances of logs."""

    linear: float  # of the slopes together
    bend: float  # of what is not linear
    length: float  # over which it bends, in units of scaled features (of five columns)
    noise: float  # of one time


ONE_FACTOR = Smoothness(0.0, 0.0, 1.0, 0.01)
_RICHER = tuple(
    Smoothness(*values) for values in product((1e-4, 1e-2, 1e-1), (0.0, 0.01, 0.04, 0.1), (1, 2, 4), (0.01, 0.03))
)


class _Fitted:
    """One Gaussian process with a free constant (Rasmussen and Williams 2006, ch. 2) on scaled rows."""

    def __init__(self, s: Smoothness, x: Floats, y: Floats) -> None:
        self._s, self._x = s, x
        self._inverse = np.linalg.inv(_kernel(s, x, x) + s.noise * np.eye(len(x)))
        self._weights = self._inverse @ y
        diagonal: Floats = np.diag(self._inverse).astype(np.float64)
        # Each left out exactly, without fitting anew (eq. 5.12), and the variance of that error.
        self.left_out: Floats = self._weights / diagonal
        self._own = float(np.mean(self.left_out**2 * diagonal))  # how much wider the errors are than assumed
        self.left_out_variance: Floats = self._own / diagonal
        self.error = float(np.abs(self.left_out).mean())

    def __call__(self, x: Floats) -> tuple[Floats, Floats]:
        """Mean and variance of the logs."""
        across = _kernel(self._s, x, self._x)
        middle: Floats = across @ self._weights
        prior = _FLAT + self._s.linear * (x**2).mean(axis=1) + self._s.bend + self._s.noise
        variance = prior - ((across @ self._inverse) * across).sum(axis=1)
        return middle, self._own * np.maximum(variance, self._s.noise)


class RatioModel:
    """log(new / old) of work: one factor, or slopes and bends on top of it where they explain times left out.

    The mean of the `_COMMITTEE` models that explain left-out times best; one factor alone wins ties.

    Args:
        rows: (N, F) of `features.rows_of`, N >= 1.
        logs: (N,) log(new / old).
        scale: of the features over the whole profile.
    """

    def __init__(self, rows: Floats, logs: Floats, scale: Scale) -> None:
        step = max(1, -(-len(rows) // _MOST))
        x, y = scale(rows[::step]), logs[::step]
        self._scale, self._count = scale, len(y)
        self.factor = math.exp(float(np.median(logs)))
        one = _Fitted(ONE_FACTOR, x, y)
        self._models = [one]
        if len(y) >= _FEWEST:
            few = max(1, len(y) // _SEARCH)
            errors = {s: _Fitted(s, x[::few], y[::few]).error for s in (ONE_FACTOR, *_RICHER)}
            best = sorted(_RICHER, key=errors.__getitem__)[:_COMMITTEE]
            if errors[best[0]] < _GAIN * errors[ONE_FACTOR]:
                self._models = [_Fitted(s, x, y) for s in best]
        self.one_factor_left_out = one.left_out
        self.left_out: Floats = np.mean([model.left_out for model in self._models], axis=0)
        variance = np.mean([m.left_out_variance for m in self._models], axis=0)
        variance = variance + np.var([m.left_out for m in self._models], axis=0)
        self._quantile = _interval_factor(np.abs(self.left_out) / np.sqrt(variance)) if len(y) > 1 else 0.0

    @property
    def one_factor(self) -> bool:
        """Whether nothing but a factor was learned."""
        return len(self._models) == 1

    def __call__(self, rows: Floats) -> tuple[Floats, Floats]:
        """(M,) log(new / old), and (M,) the half-width of an interval that holds it in 80 of 100 cases."""
        x = self._scale(rows)
        found = [model(x) for model in self._models]
        middle: Floats = np.mean([m for m, _ in found], axis=0)
        if self._count < 2:
            return middle, np.full(len(x), _BLIND)
        variance = np.mean([v for _, v in found], axis=0) + np.var([m for m, _ in found], axis=0)
        half: Floats = self._quantile * np.sqrt(variance)
        return middle, half


def _kernel(s: Smoothness, a: Floats, b: Floats) -> Floats:
    columns = a.shape[1]
    made: Floats = _FLAT + s.linear * (a @ b.T) / columns
    if s.bend:
        squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2 * a @ b.T
        made = made + s.bend * np.exp(-0.5 * np.maximum(squares, 0.0) * 5 / (columns * s.length**2))
    return made


def _interval_factor(standardised: Floats) -> float:
    """How many of its own standard deviations hold 80 % of the left-out errors; (n+1)-corrected as split conformal."""
    n = len(standardised)
    return float(np.quantile(standardised, min(_WITHIN * (n + 1) / n, 1.0)))


def percent(errors: Floats) -> Floats:
    """|predicted - true| / true in percent, of true minus predicted logs."""
    found: Floats = 100 * np.abs(np.expm1(-errors))
    return found
