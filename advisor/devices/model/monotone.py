"""More kept connections never take less time: a learner does not know it, so its curve is made to rise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import exp, log
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from advisor.runtime.execution import Execution

_POINTS = 13  # of the curve, evenly on a log scale from 1/64 of the connections to all


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Executions that differ in `kept` alone, ascending; `place` is the nearest to the one that was asked for.

    They are the same whatever `kept` was asked for, so that what is read between them rises, too.
    """

    executions: tuple[Execution, ...]
    kept: float
    place: int

    def at(self, ms: np.ndarray) -> float:
        """The risen curve at the kept connections that were asked for; (E,) ms of `executions`."""
        if len(self.executions) == 1:
            return float(ms[0])
        risen = rising(np.log(ms))
        return exp(float(np.interp(log(self.kept), [log(e.kept) for e in self.executions], risen)))


def along_kept(execution: Execution) -> Curve:
    """The curve that a sparse layer lies on; of any other, itself."""
    e = execution
    if e.method != "direct":
        return Curve(executions=(e,), kept=1.0, place=0)
    most = e.out_channels // e.block * e.weight_shape[1]
    least = max(most // 64, e.out_channels // e.block // 4, 1)
    points = sorted({min(round(exp(x)), most) for x in np.linspace(log(least), log(most), _POINTS)})
    place = min(range(len(points)), key=lambda i: abs(log(points[i]) - log(e.kept)))
    return Curve(executions=tuple(replace(e, kept=kept) for kept in points), kept=float(e.kept), place=place)


def rising(values: np.ndarray) -> np.ndarray:
    """The nearest non-decreasing sequence in least squares (pool adjacent violators)."""
    means: list[float] = []
    counts: list[int] = []
    for value in values.tolist():
        means.append(value)
        counts.append(1)
        while len(means) > 1 and means[-2] > means[-1]:
            count = counts[-2] + counts[-1]
            means[-2] = (means[-2] * counts[-2] + means[-1] * counts[-1]) / count
            counts[-2] = count
            means.pop()
            counts.pop()
    return np.repeat(means, counts)
