"""One clock for the CPU and one for CUDA."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import time
from collections.abc import Callable
from typing import Protocol

from advisor.devices.settings import device_type

Work = Callable[[], object]
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # names of glibc's settings, as in its malloc.h
NOTEWORTHY = 0.05  # a share of time that other processes had the core, from which on it is said


class Clock(Protocol):
    """Runs work once and says how long it took, in milliseconds."""

    def __call__(self, work: Work) -> float: ...


class CpuClock:
    """Wall time; of work in one thread, without the time that it waited for a core while other processes had it.

    On a shared machine a scheduler takes the core away for milliseconds at a time, so that short work looks fast and
    long work slow. Linux says how long (`schedstat`); elsewhere this is plain wall time.

    With several threads nothing is taken out: the calling thread may wait for a core that its own workers have (more
    threads than cores, or two that landed on one), or wait while a worker with more to do is not done either. That
    time is the work's own.
    """

    def __init__(self, *, one_thread: bool = False) -> None:
        """`one_thread`: the calling thread does all of the work."""
        self._one_thread = one_thread
        settle_allocator()
        self._waited_ns = self._total_ns = 0

    def __call__(self, work: Work) -> float:
        before, start = self._queued_ns(), time.perf_counter_ns()
        work()
        total, waited = time.perf_counter_ns() - start, self._queued_ns() - before
        waited = min(max(waited, 0), total)
        self._total_ns += total
        self._waited_ns += waited
        return max(total - waited, 1) / 1e6

    @property
    def waited(self) -> float:
        """The share of the time on this clock that went to other processes, 0 to 1; 0 where nothing is taken out."""
        return self._waited_ns / self._total_ns if self._total_ns else 0.0

    def _queued_ns(self) -> int:
        return queued_ns() if self._one_thread else 0


def settle_allocator() -> None:
    """Lets C's allocator keep what it gets back, in this process from now on.

    glibc gives large pieces of memory back to the system and maps them anew at the next request, and every first touch
    of a page then costs a fault; whether it does depends on what else was freed in which order. A network then takes
    longer and differently so from run to run: MobileNetV2 at batch 8 took 1.4 times as long (one thread of an AMD EPYC,
    two runs each). A service gets the same as here by MALLOC_MMAP_MAX_=0 and MALLOC_TRIM_THRESHOLD_=2147483647 in its
    environment, or by an allocator that keeps memory anyway (jemalloc, tcmalloc). Elsewhere than with glibc this does
    nothing.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)


class _Queue:
    """One thread's line of scheduler statistics, kept open: opening it anew would cost more than short work."""

    def __init__(self) -> None:
        try:
            self._file = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except (OSError, AttributeError):  # not Linux
            self._file = -1

    def __del__(self) -> None:
        if self._file >= 0:
            os.close(self._file)

    def waited_ns(self) -> int:
        if self._file < 0:
            return 0
        try:
            # nanoseconds on a core, nanoseconds ready but waiting for one, times it was given one
            return int(os.pread(self._file, 100, 0).split()[1])
        except (OSError, IndexError, ValueError):
            return 0


_local = threading.local()


def queued_ns() -> int:
    """How long the calling thread has been ready to run without running; 0 where the system does not say."""
    thread = threading.get_native_id()
    if getattr(_local, "thread", None) != thread:  # also after a fork
        _local.thread, _local.queue = thread, _Queue()
    queue: _Queue = _local.queue
    return queue.waited_ns()


class CudaClock:
    """CUDA events around the work, on an idle device: from the first launch to the last kernel, gaps included."""

    def __init__(self, device: str) -> None:
        import torch

        self._device = torch.device(device)
        with torch.cuda.device(self._device):
            self._start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            self._end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]

    def __call__(self, work: Work) -> float:
        import torch

        with torch.cuda.device(self._device):
            torch.cuda.synchronize()
            self._start.record()
            work()
            self._end.record()
            self._end.synchronize()
        return float(self._start.elapsed_time(self._end))


def clock_for(device: str) -> Clock:
    """The clock of "cpu" or "cuda[:i]", for work under as many threads as torch has now."""
    if device_type(device) == "cuda":
        return CudaClock(device)
    import torch

    return CpuClock(one_thread=torch.get_num_threads() == 1)


def waited_share(clock: Clock) -> float:
    """The share of its time that a clock took out because other processes had the core; 0 where it cannot tell."""
    return float(getattr(clock, "waited", 0.0))
