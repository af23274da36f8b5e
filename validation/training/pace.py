"""Time per training step and peak memory, measured while a run trains."""

from __future__ import annotations

import time
from statistics import median

import torch

from advisor.devices.memory.resident import forget_peak, resident

WARM_UP = 3  # steps at the beginning of an epoch that are not timed: caches, tilings, a compiler


class Pace:
    """One epoch's clock and memory gauge.

    A step's time runs from the end of the one before to its own end: its batch, forward, backward, optimiser and what
    training methods do. On a GPU steps are queued, but each waits for its loss, so that the median is right there, too.
    """

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)
        self._exact = True
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            self._exact = forget_peak()
        self._last = time.perf_counter()
        self._times: list[float] = []

    def step(self) -> None:
        """A step has ended."""
        now = time.perf_counter()
        self._times.append(now - self._last)
        self._last = now

    @property
    def step_ms(self) -> float | None:
        """Median over the epoch's steps but the first `WARM_UP`; None in an epoch of no more steps than that."""
        timed = self._times[WARM_UP:]
        return 1e3 * median(timed) if timed else None

    @property
    def peak_bytes(self) -> int | None:
        """The most memory since the epoch began.

        On the CPU the resident set of the whole process, Python, libraries and images included; on a GPU what torch's
        allocator had handed out. None where the system does not let a process start its peak anew.
        """
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        return resident().peak if self._exact else None
