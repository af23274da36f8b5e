"""How far the machine was from its usual speed while each measurement was taken, by the reference layer beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, pvariance
from typing import Any

_DEVIATIONS = 1.96  # standard deviations to the end of a 95 % interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """What to multiply a record's times by. `slack`: the uncertainty of that, as half a 95 % interval's share."""

    scale: float
    slack: float


def drifts(records: Sequence[Mapping[str, Any]]) -> list[Drift]:
    """One for each record, all of one session.

    The reference's median in a record differs from its median over the session by drift and by its own noise. Dividing
    by noise would only add some, so as much is divided out as the records differ by more than their noise explains.
    """
    # log reference = drift + noise: Var[drift] = Var[all] - mean Var[noise]; E[drift | seen] = weight · seen
    seen = [math.log(float(record["reference_ms"])) for record in records]
    noise = [(float(record.get("reference_spread", 0.0)) / _DEVIATIONS) ** 2 for record in records]
    usual = median(seen)
    between = max(pvariance(seen) - fmean(noise), 0.0)
    found = []
    for value, own in zip(seen, noise, strict=True):
        weight = between / (between + own) if between + own > 0 else 1.0
        slack = _DEVIATIONS * math.sqrt(weight * own)
        found.append(Drift(scale=math.exp(-weight * (value - usual)), slack=min(slack, 0.9)))
    return found
