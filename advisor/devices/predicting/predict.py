"""The time of work that was not measured: interpolated or regressed from work that was, with an honest interval."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np

from advisor.devices.predicting.features import features, layer_group, sibling_group, sweep_group

if TYPE_CHECKING:
    from advisor.devices.profile import Measurement
    from advisor.runtime.execution import Execution

Origin = Literal["predicted", "extrapolated"]
_RIDGE = 0.03  # in units of standardised features; chosen once on ResNet-18 and MobileNetV2, flat from 0.003 to 0.3
_FEWEST = 8  # residuals below which a tier borrows the next worse tier's interval
_INTERVAL = 0.80
# Without one left-out residual nothing is known about the error: a factor of two either way.
_BLIND = math.log(2.0)
# Outside the range of what was measured the residuals inside it say too little.
_WIDENING = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A predicted time; `low_ms`..`high_ms` is meant to hold the true one in 80 of 100 cases."""

    median_ms: float
    low_ms: float
    high_ms: float
    origin: Origin


class Predictor:
    """Predicts log time. Three sources, best first, each with the residuals of its own left-out trials.

    1. *sweep*: the same layer shape under the same method, measured at other numbers of kept connections on both
       sides: linear between the two neighbours in log-log.
    2. *sibling*: the same operator on the same input size was measured under other options or widths: the regression
       plus the siblings' mean residual, weighted by nearness.
    3. *new*: ridge regression on log MACs, bytes, sizes, kernel and method over everything measured.

    Args:
        measurements: what was measured; at least one.
    """

    def __init__(self, measurements: Sequence[Measurement]) -> None:
        self._executions = [m.execution for m in measurements]
        self._log = np.array([math.log(max(m.median_ms, 1e-9)) for m in measurements])
        self._x = np.array([features(e) for e in self._executions])
        self._methods = {(e.kind, e.method) for e in self._executions}
        self._low, self._high = self._x.min(axis=0), self._x.max(axis=0)
        self._model = _Ridge(self._x, self._log)
        self._residual = self._log - self._model(self._x)
        self._sweeps: dict[tuple[object, ...], list[int]] = defaultdict(list)
        self._siblings: dict[tuple[object, ...], list[int]] = defaultdict(list)
        for index, execution in enumerate(self._executions):
            self._sweeps[sweep_group(execution)].append(index)
            self._siblings[sibling_group(execution)].append(index)
        self.left_out = self._leave_out()
        self._quantiles = {tier: self._tier_quantiles(tier) for tier in ("sweep", "sibling", "new")}

    def __call__(self, execution: Execution) -> Estimate:
        """The estimate for one execution, whether it was measured or not."""
        x = features(execution)
        value = self._sweep(execution, self._log, leave=-1)
        tier = "sweep"
        if value is None:
            base = float(self._model(x[None])[0])
            local = self._local(execution, x, self._residual, leave=-1)
            tier = "new" if local is None else "sibling"
            value = base + (local or 0.0)
        below, above = self._quantiles[tier]
        origin: Origin = "predicted"
        slack = 0.05 * (self._high - self._low) + 1e-6
        outside = bool(np.any((x < self._low - slack) | (x > self._high + slack)))
        if tier != "sweep" and (outside or (execution.kind, execution.method) not in self._methods):
            origin, below, above = "extrapolated", _WIDENING * below, _WIDENING * above
        return Estimate(
            median_ms=math.exp(value), low_ms=math.exp(value + below), high_ms=math.exp(value + above), origin=origin
        )

    def _sweep(self, execution: Execution, log: np.ndarray, *, leave: int) -> float | None:
        if not execution.kept:
            return None
        members = [i for i in self._sweeps.get(sweep_group(execution), ()) if i != leave]
        points = sorted((math.log(self._executions[i].kept), float(log[i])) for i in members)
        at = math.log(execution.kept)
        for (x0, y0), (x1, y1) in pairwise(points):
            if x0 <= at <= x1 and x1 > x0:
                return y0 + (y1 - y0) * (at - x0) / (x1 - x0)
        return None

    def _local(self, execution: Execution, x: np.ndarray, residual: np.ndarray, *, leave: int) -> float | None:
        members = [i for i in self._siblings.get(sibling_group(execution), ()) if i != leave]
        if not members:
            return None
        distance = np.sqrt((((self._x[members] - x) / self._model.scale) ** 2).sum(axis=1))
        same = np.array([0.0 if self._executions[i].method == execution.method else 1.0 for i in members])
        weights = np.exp(-2.0 * distance - same)
        # Shrunk towards the regression: one distant sibling should move the estimate little.
        return float((weights * residual[members]).sum() / (weights.sum() + 0.05))

    def _leave_out(self) -> Mapping[str, np.ndarray]:
        """Per tier, true minus predicted log time of every measurement that the prediction did not see.

        "new" leaves out whole groups of layers (same operator and input size), at most ten folds; the others leave
        out one execution and keep its relatives.
        """
        groups = [layer_group(e) for e in self._executions]
        order = {group: index % 10 for index, group in enumerate(sorted(set(groups), key=str))}
        fold = np.array([order[group] for group in groups])
        new = np.full(len(self._log), np.nan)
        if len(order) > 1:
            for index in np.unique(fold):
                seen = fold != index
                new[~seen] = self._log[~seen] - _Ridge(self._x[seen], self._log[seen])(self._x[~seen])
        sibling, sweep = np.full(len(self._log), np.nan), np.full(len(self._log), np.nan)
        # Leaving one row out of a ridge fit: residual / (1 - leverage), exactly (Allen, 1974).
        loo = self._residual / np.maximum(1 - self._model.leverage(self._x), 1e-3)
        for i, execution in enumerate(self._executions):
            between = self._sweep(execution, self._log, leave=i)
            if between is not None:
                sweep[i] = self._log[i] - between
            local = self._local(execution, self._x[i], self._residual, leave=i)
            if local is not None:
                sibling[i] = loo[i] - local
        return {"new": new, "sibling": sibling, "sweep": sweep}

    def _tier_quantiles(self, tier: str) -> tuple[float, float]:
        for better in {"sweep": ("sweep", "sibling", "new"), "sibling": ("sibling", "new"), "new": ("new",)}[tier]:
            found = self.left_out[better]
            found = found[np.isfinite(found)]
            if len(found) >= _FEWEST:
                return interval(found)
        return -_BLIND, _BLIND


class _Ridge:
    """Least squares on standardised features with a small penalty; the intercept is free."""

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        self._mean = x.mean(axis=0)
        self.scale = np.where(x.std(axis=0) > 1e-9, x.std(axis=0), 1.0)
        z = self._design(x)
        penalty = np.full(z.shape[1], _RIDGE)
        penalty[0] = 1e-9
        self._inverse = np.linalg.inv(z.T @ z + np.diag(penalty))
        self._weights = self._inverse @ z.T @ y

    def _design(self, x: np.ndarray) -> np.ndarray:
        z = (x - self._mean) / self.scale
        return np.hstack([np.ones((len(z), 1)), z])

    def __call__(self, x: np.ndarray) -> np.ndarray:
        result: np.ndarray = self._design(x) @ self._weights
        return result

    def leverage(self, x: np.ndarray) -> np.ndarray:
        z = self._design(x)
        result: np.ndarray = np.einsum("ij,jk,ik->i", z, self._inverse, z)
        return result


def interval(residuals: np.ndarray) -> tuple[float, float]:
    """The range that holds 80 % of the residuals, always with 0 in it. (n+1)-corrected as in split conformal."""
    n = len(residuals)
    tail = max((1 - _INTERVAL) / 2 * (n + 1) / n - 1 / n, 0.0)
    below, above = np.quantile(residuals, [tail, 1 - tail])
    return min(float(below), 0.0), max(float(above), 0.0)


def error_summary(predictor: Predictor) -> dict[str, float | int | str]:
    """How far the profile's own predictions are from its measurements, left out one way and the other.

    `coverage_percent` is the share of left-out times inside an 80 % interval drawn from the *other* half of them.
    """
    summary: dict[str, float | int | str] = {
        "method": "log-linear regression; whole layer groups left out (new_), or single measurements (option_)"
    }
    best = predictor.left_out["sweep"]
    best = np.where(np.isfinite(best), best, predictor.left_out["sibling"])
    for prefix, residuals in (("new_", predictor.left_out["new"]), ("option_", best)):
        found = residuals[np.isfinite(residuals)]
        if len(found) < _FEWEST:
            continue
        percent = 100 * np.abs(np.expm1(-found))  # |predicted - true| / true
        summary[f"{prefix}median_percent"] = round(float(np.median(percent)), 2)
        summary[f"{prefix}p90_percent"] = round(float(np.quantile(percent, 0.9)), 2)
        summary[f"{prefix}coverage_percent"] = round(100 * _coverage(found), 1)
        summary[f"{prefix}count"] = len(found)
    worst = "new_" if "new_median_percent" in summary else "option_"
    for name in ("median_percent", "p90_percent"):
        if worst + name in summary:
            summary[name] = summary[worst + name]
    return summary


def _coverage(residuals: np.ndarray) -> float:
    inside = 0
    for half in (0, 1):
        low, high = interval(residuals[half::2])
        other = residuals[1 - half :: 2]
        inside += int(((other >= low) & (other <= high)).sum())
    return inside / len(residuals)
