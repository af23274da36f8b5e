"""Numbers of threads between two that the suite ran with: nobody measured them, but work hardly does other than share.

By Amdahl's law work takes s + p / n ms with n threads (Amdahl, 1967). Two measured numbers of threads give both, so
what lies between them is a weighted mean of two predictions, and can be neither faster nor slower than both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import exp, log
from typing import TYPE_CHECKING

from advisor.devices.measuring.drift import Pace
from advisor.devices.predicting.estimator import WholeEstimate
from advisor.devices.predicting.predict import Estimate

if TYPE_CHECKING:
    from advisor.devices.model.device import DeviceModel
    from advisor.devices.steps.record import Recording
    from advisor.devices.steps.step import Step
    from advisor.devices.suite.table import Table
    from advisor.runtime.execution import Execution

_WIDENING = 2.0  # of the logs of an interval, times share · (1 - share): half as wide again in the middle


@dataclass(frozen=True, slots=True, kw_only=True)
class Threads:
    """The two nearest tables; `share` is the second one's weight."""

    fewer: Table
    more: Table
    threads: int

    @property
    def share(self) -> float:
        # 1/n = (1 - share) / n₁ + share / n₂
        fewer, more = 1 / self.fewer.threads, 1 / self.more.threads
        return (fewer - 1 / self.threads) / (fewer - more)

    @property
    def pace(self) -> Pace:
        """The reference layer under so many threads, in the quiet part of the session."""
        one, two = self.fewer.pace, self.more.pace
        return Pace(
            reference_ms=_mean(one.reference_ms, two.reference_ms, self.share),
            slope=_mean(one.slope, two.slope, self.share),
        )


def around(tables: Sequence[Table], threads: int, training: bool) -> Threads | None:
    """The tables to both sides of a number of threads that none of them has; None where one side is empty."""
    mine = [table for table in tables if table.training == training]
    fewer = [table for table in mine if table.threads < threads]
    more = [table for table in mine if table.threads > threads]
    if not fewer or not more:
        return None
    return Threads(
        fewer=max(fewer, key=lambda table: table.threads),
        more=min(more, key=lambda table: table.threads),
        threads=threads,
    )


class ThreadsModel:
    """An `Estimator` of a number of threads between two measured ones."""

    def __init__(self, threads: Threads, fewer: DeviceModel, more: DeviceModel) -> None:
        self._fewer, self._more, self._share = fewer, more, threads.share
        self._note = (
            f"{threads.threads} threads were not measured: their times lie between those of {threads.fewer.threads} "
            f"and {threads.more.threads}"
        )

    def step(self, step: Step) -> Estimate:
        return self._between(self._fewer.step(step), self._more.step(step))

    def layer(self, execution: Execution) -> Estimate:
        return self._between(self._fewer.layer(execution), self._more.layer(execution))

    def look_ahead(self, executions: Iterable[Execution]) -> None:
        asked = tuple(executions)
        self._fewer.look_ahead(asked)
        self._more.look_ahead(asked)

    def whole(self, recording: Recording) -> WholeEstimate:
        one, two = self._fewer.whole(recording), self._more.whole(recording)
        both = self._between(
            *(Estimate(median_ms=w.median_ms, low_ms=w.low_ms, high_ms=w.high_ms, origin=w.origin) for w in (one, two))
        )
        families = dict.fromkeys((*one.parts, *two.parts))
        return replace(
            one,
            median_ms=both.median_ms,
            low_ms=both.low_ms,
            high_ms=both.high_ms,
            origin=both.origin,
            parts={n: _mean(one.parts.get(n, 0.0), two.parts.get(n, 0.0), self._share) for n in families},
            steps_ms=tuple(_mean(a, b, self._share) for a, b in zip(one.steps_ms, two.steps_ms, strict=True)),
            notes=(self._note, *dict.fromkeys((*one.notes, *two.notes))),
        )

    def _between(self, one: Estimate, two: Estimate) -> Estimate:
        share = self._share
        median = _mean(one.median_ms, two.median_ms, share)
        wider = 1 + _WIDENING * share * (1 - share)
        below, above = (
            wider * _mean(_log_ratio(a, one.median_ms), _log_ratio(b, two.median_ms), share)
            for a, b in ((one.low_ms, two.low_ms), (one.high_ms, two.high_ms))
        )
        beyond = "extrapolated" in (one.origin, two.origin)
        return Estimate(
            median_ms=median,
            low_ms=median * exp(below),
            high_ms=median * exp(above),
            origin="extrapolated" if beyond else "predicted",
        )


def _mean(one: float, two: float, share: float) -> float:
    return (1 - share) * one + share * two


def _log_ratio(end: float, median: float) -> float:
    return log(end / median) if median > 0 and end > 0 else 0.0
