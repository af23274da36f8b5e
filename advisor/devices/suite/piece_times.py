"""One piece of the suite on the clock: every operator in place, and the piece as a whole beside it."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import numpy as np
import torch

from advisor.devices.inplace.stopwatch import described, timed
from advisor.devices.measuring.clocks import Clock
from advisor.devices.measuring.drift import together
from advisor.devices.measuring.timing import Sample, summarize
from advisor.devices.steps.record import Recording


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """Medians over the rounds, in ms.

    Attributes:
        recording: which steps ran.
        steps_ms, steps_low_ms, steps_high_ms: (S,) of each step, the stopwatch's own reading for nothing taken out; the
            ends are the quartiles of the rounds.
        whole_ms: the same without a stopwatch; `whole_low_ms`..`whole_high_ms` its quartiles.
        reference: the reference layer's, taken in the same rounds.
    """

    recording: Recording
    steps_ms: np.ndarray
    steps_low_ms: np.ndarray
    steps_high_ms: np.ndarray
    whole_ms: float
    whole_low_ms: float
    whole_high_ms: float
    reference: Sample
    together: list[float]  # see `drift.together`: how the whole slows down with the reference
    rounds: int
    waited: float


def time_in_place(
    call: Callable[[], object],
    module: torch.nn.Module,
    *,
    clock: Clock,
    reference: Callable[[], object],
    empty_ns: float,
    seconds: float = 0.5,
    one_thread: bool,
) -> Timed:
    """Times `call`, which calls `module`, in interleaved rounds: whole, under the stopwatch, reference.

    Every second round runs the other way round, so that what drifts meets all alike. As many rounds as fit into
    `seconds`, three at least and fifteen at most: long work varies less.
    """
    call()
    began = perf_counter()
    call()
    rounds = int(min(max(seconds / 2 / (perf_counter() - began), 3), 15))
    recording = described(call, module)
    wholes: list[float] = []
    references: list[float] = []
    steps: list[list[int]] = []
    waited = 0

    def whole() -> None:
        wholes.append(clock(call))

    def inside() -> None:
        nonlocal waited
        watch = timed(call, one_thread=one_thread)
        waited += watch.waited_ns
        steps.append(watch.times_ns)

    def beside() -> None:
        reference()  # once more off the clock: what it finds in the caches must not depend on the piece
        references.append(clock(reference))

    collecting = gc.isenabled()
    gc.disable()
    try:
        for index in range(rounds):
            for part in (whole, inside, beside) if index % 2 else (beside, inside, whole):
                part()
    finally:
        if collecting:
            gc.enable()
    counts = {len(found) for found in steps} | {len(recording.steps)}
    if len(counts) > 1:
        raise RuntimeError(f"the network takes another way from run to run: {sorted(counts)} operators")
    taken = np.maximum(np.array(steps, dtype=np.float64) - empty_ns, 0.0) / 1e6
    low, middle, high = np.quantile(taken, (0.25, 0.5, 0.75), axis=0)
    total = float(np.sum(steps)) + waited or 1.0
    return Timed(
        recording=recording,
        steps_ms=middle,
        steps_low_ms=low,
        steps_high_ms=high,
        whole_ms=median(wholes),
        whole_low_ms=float(np.quantile(wholes, 0.25)),
        whole_high_ms=float(np.quantile(wholes, 0.75)),
        reference=summarize(references),
        together=together(summarize(references), summarize(wholes)),
        rounds=rounds,
        waited=waited / total,
    )
