"""Several times of one execution become one, and what a table says about its own noise becomes intervals."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from advisor.devices.profile import Measurement

if TYPE_CHECKING:
    from advisor.runtime.execution import Execution

# Run to run, public tables of latencies differ by 3 to 9 %; taken where a table says nothing about itself.
ASSUMED = 0.10
_FEWEST = 8  # repeated pairs from which a table's own spread is believed


def merged(times: Iterable[tuple[Execution, float]]) -> tuple[dict[str, Measurement], float, bool]:
    """One measurement per execution: the mean of its times, so that sums over layers stay what they were.

    Returns:
        key → measurement; the standard deviation of a single log time around its execution's mean (`ASSUMED` / 1.96
        where there are too few repetitions to tell); and whether the table itself told it.
    """
    found: dict[Execution, list[float]] = defaultdict(list)
    for execution, ms in times:
        found[execution].append(ms)
    residuals = [
        math.log(ms / float(np.exp(np.mean(np.log(members)))))
        for members in found.values()
        if len(members) > 1
        for ms in members
    ]
    freedom = len(residuals) - sum(len(members) > 1 for members in found.values())
    told = freedom >= _FEWEST
    deviation = math.sqrt(sum(r * r for r in residuals) / freedom) if told else ASSUMED / 1.96
    measurements = {}
    for execution, members in found.items():
        middle = float(np.mean(members))
        factor = math.exp(1.96 * deviation / math.sqrt(len(members)))
        measurements[execution.key] = Measurement(
            execution=execution,
            median_ms=middle,
            low_ms=middle / factor,
            high_ms=middle * factor,
            repeats=len(members),
        )
    return measurements, deviation, told


def noise_note(deviation: float, told: bool) -> str:
    """What the intervals rest on, as a sentence."""
    if told:
        return (
            f"the table gives no intervals; equal work in it differs by {100 * math.expm1(deviation):.1f} % "
            "(standard deviation), which the intervals are drawn from"
        )
    return f"the table gives no intervals: ± {ASSUMED:.0%} is assumed, as public tables differ by 3 to 9 % between runs"
