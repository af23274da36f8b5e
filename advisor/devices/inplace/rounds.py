"""Rounds of one network: as it runs when nobody looks, then under the stopwatch, beside the reference layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from advisor.devices.inplace.collect import Time
from advisor.devices.inplace.deployed import work_of
from advisor.devices.inplace.stopwatch import Stopwatch, empty_step_ns, timed
from advisor.devices.measuring.timing import Sample, clock_for, summarize, time_interleaved, waited_share
from advisor.errors import ProfileError

if TYPE_CHECKING:
    from advisor.devices.inplace.deployed import Deployed

_LEAST_MS = 1e-6  # of a step that takes no longer than an empty one
_REFERENCE_SHARE, _MOST_REFERENCES = 0.2, 20  # of a round's time; runs


@dataclass(frozen=True, slots=True, kw_only=True)
class InPlace:
    """What the rounds gave.

    Attributes:
        taken: "whole", "reference" and whatever else stood in the rounds, by name.
        steps: beside the steps of the network; views take none of the whole and have a time of 0.
        waited: share of the time for which other processes had the core; it is taken out.
        sum_ms: all steps together.
    """

    taken: Mapping[str, Sample]
    steps: tuple[Time, ...]
    waited: float
    sum_ms: float


def in_rounds(
    network: Deployed,
    beside: Mapping[str, Callable[[], object]],
    *,
    reference: Callable[[], object],
    seconds: float,
    warmup: int = 1,
    least: int = 6,
    spread: float = 0.01,
    check: Callable[[], None] | None = None,
) -> InPlace:
    """Times a network on the CPU in turn with what stands `beside` it, and with the reference layer.

    The reference runs several times in each round, so that it sees as much of what else happens on the machine as a
    long run does, and first once off the clock, so that it finds its caches as it left them.

    Args:
        seconds: about how long; fewer where every median is known to ± `spread` before, never below `least` rounds.

    Raises:
        ProfileError: the network takes other steps each time.
    """
    one_thread = torch.get_num_threads() == 1
    clock = clock_for("cpu")
    empty_ms = empty_step_ns() / 1e6
    watches: list[Stopwatch] = []
    network_ms = clock(network.call)
    reference()
    times = max(1, min(round(_REFERENCE_SHARE * network_ms / clock(reference)), _MOST_REFERENCES))

    def references() -> None:
        for _ in range(times):
            reference()

    def watched() -> None:
        watches.append(timed(network.call, one_thread=one_thread))

    taken = time_interleaved(
        {"reference": references, **beside, "whole": network.call, "watched": watched},
        clock=clock,
        primed=() if times > 1 else ("reference",),
        warmup=warmup,
        min_repeats=least,
        max_seconds=seconds,
        spread=spread,
        check=check,
    )
    rounds = [watch.times_ns for watch in watches[warmup:]]
    if any(len(found) != len(network.steps) for found in rounds):
        raise ProfileError("the network takes other steps from one run to the next, so they cannot be timed in place")
    works = np.array([work_of(step) for step in network.steps])
    ms = np.maximum(np.array(rounds, dtype=np.float64) / 1e6 - empty_ms, _LEAST_MS) * works
    steps = _steps(ms, taken["whole"])
    return InPlace(
        taken={**taken, "reference": summarize([found / times for found in taken["reference"].times_ms])},
        steps=steps,
        waited=waited_share(clock),
        sum_ms=sum(step.median_ms for step in steps),
    )


def _steps(ms: np.ndarray, whole: Sample) -> tuple[Time, ...]:
    """Times of the steps that add up as their runs did.

    What slows a machine down for a while hits some steps in each run, others in the next: medians of single steps do
    not see it, those of whole runs do, and the sum of the former would fall short. So each step is known by its median
    share of its run, and the sum of all by its median ratio to the whole of the same round.

    Args:
        ms: (rounds, steps).
        whole: the run without a clock in it, in the same rounds.
    """
    if not ms.size or not ms.any():
        return tuple(Time(median_ms=0.0, low_ms=0.0, high_ms=0.0) for _ in range(ms.shape[1] if ms.ndim == 2 else 0))
    sums = ms.sum(axis=1)
    share = [summarize(tuple(map(float, column))) for column in (ms / sums[:, None]).T]
    ratio = summarize([a / b for a, b in zip(sums, whole.times_ms, strict=True)])
    total = ratio.median_ms * whole.median_ms
    factor = total / sum(one.median_ms for one in share)
    slack = math.hypot(whole.spread, ratio.spread)
    return tuple(_time(one, factor, slack) for one in share)


def _time(share: Sample, factor: float, slack: float) -> Time:
    if share.median_ms <= 0:
        return Time(median_ms=0.0, low_ms=0.0, high_ms=0.0)
    low = math.hypot(1 - share.low_ms / share.median_ms, slack)
    high = math.hypot(share.high_ms / share.median_ms - 1, slack)
    middle = share.median_ms * factor
    return Time(median_ms=middle, low_ms=middle * max(1 - low, 0.01), high_ms=middle * (1 + high))
