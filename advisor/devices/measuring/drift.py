"""How far the machine was from its quiet speed while each measurement was taken, by the reference layer beside it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pvariance
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from advisor.devices.measuring.timing import Sample

NOISY = 0.10  # so much slower than in the quietest fifth of a run, a reference says that something else ran
_DEVIATIONS = 1.96  # standard deviations to the end of a 95 % interval
_QUIET = 0.2
# Work slows down by nearly as much as the reference where nothing is known, which counts as fifty rounds at ± 3 %.
_USUAL_SLOPE, _SLOPE_WEIGHT, _STEEPEST = 0.8, 0.045, 1.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """What to multiply a record's times by.

    Attributes:
        slack: the uncertainty of that, as half a 95 % interval's share.
        slower: the reference's time / its time in the quietest fifth of the records - 1.
    """

    scale: float
    slack: float
    slower: float


def together(reference: Sample, work: Sample) -> list[float]:
    """[Σxy, Σxx] of the logs of both, round by round, from their means: how work slows down with the reference."""
    pairs = list(zip(reference.times_ms, work.times_ms, strict=True))
    x, y = (np.log(np.maximum(np.array(column), 1e-9)) for column in zip(*pairs, strict=True))
    x, y = x - x.mean(), y - y.mean()
    return [float((x * y).sum()), float((x * x).sum())]


def drifts(records: Sequence[Mapping[str, Any]]) -> list[Drift]:
    """One for each record, all of one session; times become those of its quiet part.

    Two things are measured, not assumed. The reference's median in a record differs from that of others by drift and by
    its own noise; dividing by noise would only add some, so it counts for what the records differ by more than their
    noise explains. And other work does not slow down by as much as the reference does: by which power of it, the rounds
    of all records of one kind (the whole network, passes over sparse layers, single executions) say together.
    """
    # log reference = drift + noise: Var[drift] = Var[all] - mean Var[noise]; E[drift | seen] = weight · seen
    seen = np.log([float(record["reference_ms"]) for record in records])
    noise = [(float(record.get("reference_spread", 0.0)) / _DEVIATIONS) ** 2 for record in records]
    quiet = float(np.quantile(seen, _QUIET))
    between = max(pvariance(seen.tolist()) - fmean(noise), 0.0)
    slopes = _slopes(records)
    found = []
    for record, value, own in zip(records, seen.tolist(), noise, strict=True):
        weight = (between / (between + own) if between + own > 0 else 1.0) * slopes[_kind(record)]
        found.append(
            Drift(
                scale=math.exp(-weight * (value - quiet)),
                slack=min(_DEVIATIONS * weight * math.sqrt(own), 0.9),
                slower=math.expm1(value - quiet),
            )
        )
    return found


def _kind(record: Mapping[str, Any]) -> str:
    kind = str(record["key"]).partition(":")[0]
    return kind if kind in ("whole", "pass") else "alone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast a machine was in the quiet part of a session: the reference layer's time, and by which power of it
    whole networks slow down.
    """

    reference_ms: float
    slope: float

    def slower(self, reference_ms: float) -> float:
        """By which factor networks take longer while the reference takes `reference_ms`."""
        return float((reference_ms / self.reference_ms) ** self.slope)

    def is_noisy(self, reference_ms: float) -> bool:
        """Whether something else ran on the machine while the reference took that long."""
        return reference_ms > self.reference_ms * (1 + NOISY)


def quiet_pace(records: Sequence[Mapping[str, Any]], *, slope: float) -> Pace:
    """The pace of a session too short to tell the slope by itself."""
    seen = [float(record["reference_ms"]) for record in records]
    return Pace(reference_ms=float(np.quantile(seen, _QUIET)), slope=slope)


def pace_of(reference_ms: np.ndarray, errors: np.ndarray) -> Pace:
    """The pace of the quiet part of a session, and the slope at which its records slow down with the reference.

    The slope is that of the regression over records: rounds of one record differ by the reference's own noise, which
    would make it look flat.

    Args:
        reference_ms: (R,) of each record.
        errors: (R,) log(measured / predicted) of each record's whole, by predictions that know nothing of its moment.
    """
    x, known = np.log(reference_ms), np.isfinite(errors)
    x, y = x[known] - x[known].mean(), errors[known] - np.median(errors[known])
    y = np.clip(y, *np.quantile(y, (0.05, 0.95)))
    over = float((x * x).sum())
    slope = min(max(float((x * y).sum()) / over, 0.0), _STEEPEST) if over > 0 else _USUAL_SLOPE
    return Pace(reference_ms=float(np.quantile(reference_ms, _QUIET)), slope=slope)


def _slopes(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    sums: dict[str, list[float]] = defaultdict(lambda: [_USUAL_SLOPE * _SLOPE_WEIGHT, _SLOPE_WEIGHT])
    for record in records:
        # A kind of record without rounds (an older journal) keeps the usual slope.
        xy, xx = record.get("together", (0.0, 0.0))
        known = sums[_kind(record)]
        known[0] += float(xy)
        known[1] += float(xx)
    return {kind: min(max(xy / xx, 0.0), _STEEPEST) for kind, (xy, xx) in sums.items()}


def is_noisy(record: Mapping[str, Any], drift: Drift) -> bool:
    """Whether something else ran while a record was taken: the reference was slow, or other processes had the core."""
    return drift.slower > NOISY or float(record.get("waited", 0.0)) > NOISY
