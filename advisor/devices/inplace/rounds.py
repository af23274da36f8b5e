"""Rounds of one network: as it runs when nobody looks, then under the stopwatch, beside the reference layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from advisor.devices.inplace.deployed import work_of
from advisor.devices.inplace.stopwatch import Stopwatch, empty_step_ns, timed
from advisor.devices.timing import Sample, clock_for, summarize, time_interleaved, waited_share
from advisor.errors import ProfileError

if TYPE_CHECKING:
    from advisor.devices.inplace.deployed import Deployed

_LEAST_MS = 1e-6  # of a step that takes no longer than an empty one


@dataclass(frozen=True, slots=True, kw_only=True)
class InPlace:
    """What the rounds gave.

    Attributes:
        taken: "whole", "reference" and whatever else stood in the rounds, by name.
        steps: beside the steps of the network; views take none of the whole and have a time of 0.
        waited: share of the time for which other processes had the core; it is taken out.
        sum_ms: the median over rounds of all steps together.
    """

    taken: Mapping[str, Sample]
    steps: tuple[Sample, ...]
    waited: float
    sum_ms: float


_NOTHING = Sample(median_ms=0.0, low_ms=0.0, high_ms=0.0, times_ms=())


def in_rounds(
    network: Deployed,
    beside: Mapping[str, Callable[[], object]],
    *,
    seconds: float,
    warmup: int = 1,
    least: int = 6,
    spread: float = 0.01,
    check: Callable[[], None] | None = None,
) -> InPlace:
    """Times a network on the CPU in turn with what stands `beside` it ("reference" is primed).

    What the stopwatch reads for an operator that does nothing is taken off each step.

    Args:
        seconds: about how long; fewer where every median is known to ± `spread` before, never below `least` rounds.

    Raises:
        ProfileError: the network takes other steps each time.
    """
    one_thread = torch.get_num_threads() == 1
    clock = clock_for("cpu")
    empty_ms = empty_step_ns() / 1e6
    watches: list[Stopwatch] = []

    def watched() -> None:
        watches.append(timed(network.call, one_thread=one_thread))

    taken = time_interleaved(
        {**beside, "whole": network.call, "watched": watched},
        clock=clock,
        primed=("reference",),
        warmup=warmup,
        min_repeats=least,
        max_seconds=seconds,
        spread=spread,
        check=check,
    )
    rounds = [watch.times_ns for watch in watches[warmup:]]
    if any(len(times) != len(network.steps) for times in rounds):
        raise ProfileError("the network takes other steps from one run to the next, so they cannot be timed in place")
    found = [
        summarize([max(times[i] / 1e6 - empty_ms, _LEAST_MS) for times in rounds]) if work_of(step) else _NOTHING
        for i, step in enumerate(network.steps)
    ]
    sums = [sum(ms) for ms in zip(*(sample.times_ms for sample in found if sample.times_ms), strict=True)]
    return InPlace(
        taken=taken,
        steps=tuple(found),
        waited=waited_share(clock),
        sum_ms=summarize(sums).median_ms if sums else 0.0,
    )
