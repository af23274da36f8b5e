"""Taking times: interleaved rounds, and a median with its interval."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from statistics import median

from advisor.devices.measuring.clocks import NOTEWORTHY, Clock, CpuClock, Work, clock_for, waited_share

__all__ = ["NOTEWORTHY", "Clock", "Sample", "clock_for", "ratio", "summarize", "time_interleaved", "waited_share"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The times of one piece of work. `low_ms`..`high_ms` is a 95 % interval of the *median*, not of single runs.

    Of fewer than six times it is their extremes, which hold the median with 1 - 2 ** (1 - times): 94 % of five.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    times_ms: tuple[float, ...]  # in the order taken; round i of one piece belongs to round i of its neighbours

    @property
    def repeats(self) -> int:
        return len(self.times_ms)

    @property
    def spread(self) -> float:
        """Half the interval's width, as a share of the median."""
        return (self.high_ms - self.low_ms) / 2 / self.median_ms if self.median_ms > 0 else math.inf


@lru_cache(maxsize=4096)
def _interval_rank(count: int, confidence: float = 0.95) -> int:
    """The largest r such that [x_(r), x_(n+1-r)] (counted from 1) holds the median with the wanted confidence.

    The number of samples below the median is Binomial(n, 1/2) whatever the distribution of the times, so no shape
    is assumed: times have long right tails. Below 6 samples no pair of ranks reaches 95 %: then the extremes.
    """
    below, rank = 0.0, 0
    while rank < count // 2:
        below += math.comb(count, rank) / 2**count
        if 2 * below > 1 - confidence:
            break
        rank += 1
    return max(rank, 1)


def summarize(times_ms: list[float] | tuple[float, ...]) -> Sample:
    """Median and its distribution-free 95 % interval. Needs one time or more."""
    ordered = sorted(times_ms)
    rank = _interval_rank(len(ordered))
    return Sample(median_ms=median(ordered), low_ms=ordered[rank - 1], high_ms=ordered[-rank], times_ms=tuple(times_ms))


def ratio(top: Sample, bottom: Sample) -> Sample:
    """top / bottom, round by round: what the two share (clock, neighbours) cancels. The "ms" are then shares."""
    return summarize([a / b for a, b in zip(top.times_ms, bottom.times_ms, strict=False) if b > 0])


@contextmanager
def _no_collection() -> Iterator[None]:
    # A collection of Python's garbage inside a round would be charged to whatever runs at that moment.
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def time_interleaved(
    callables: Mapping[str, Work],
    *,
    clock: Clock | None = None,
    warmup: int = 2,
    min_repeats: int = 8,
    max_repeats: int = 10_000,
    min_seconds: float = 0.0,
    max_seconds: float = 2.0,
    spread: float = 0.02,
    primed: Collection[str] = (),
    check: Callable[[], None] | None = None,
) -> dict[str, Sample]:
    """Times several pieces of work in turn, so that whatever drifts meets all of them alike.

    Every round runs each piece once, the order reversed in every second round. Rounds go on until the 95 % interval
    of every median is narrower than ± `spread` of it, and end early only when `max_seconds` are spent
    (never before `min_repeats` rounds).

    Args:
        callables: name → work without arguments.
        clock: how one run is timed, `clock_for(device)`; by wall time otherwise.
        warmup: rounds run and thrown away first.
        min_seconds: go on at least this long, however small the spread.
        primed: names that run once more, off the clock, right before each timed run, so that what they find in the
            caches does not depend on what else stands in the round.
        check: called between rounds; may raise to stop (an interrupt).

    Returns:
        name → Sample; round i of every sample was taken in the same moment, so `ratio` may pair them.
    """
    clock = clock or CpuClock()
    names = list(callables)
    times: dict[str, list[float]] = {name: [] for name in names}
    began = time.perf_counter()
    with _no_collection():
        for _ in range(warmup):
            for name in names:
                clock(callables[name])
        next_look = min_repeats
        for done in range(1, max_repeats + 1):
            for name in names if done % 2 else reversed(names):
                if name in primed:
                    callables[name]()
                times[name].append(clock(callables[name]))
            if check is not None:
                check()
            if done < min_repeats:
                continue
            spent = time.perf_counter() - began
            if spent >= max_seconds and spent >= min_seconds:
                break
            if done >= next_look and spent >= min_seconds:
                if all(summarize(found).spread <= spread for found in times.values()):
                    break
                next_look = done + max(1, done // 8)  # sorting each round would cost more than small work itself
    return {name: summarize(found) for name, found in times.items()}
