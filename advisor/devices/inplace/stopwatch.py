"""Times every operator of a real run where it lives: its inputs just written, its weights cold, its output fresh."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from advisor.devices.measuring.clocks import queued_ns
from advisor.devices.steps.describe import describe, describe_own
from advisor.devices.steps.owners import Owners
from advisor.devices.steps.record import Recording, is_work
from advisor.devices.steps.step import Step
from advisor.recording import Paths
from advisor.runtime.watch import watched_by


class Stopwatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A clock around every operator that reaches torch and every call of our kernels, on the CPU.

    Only the operators are on the clock: what Python does between them is not. `times_ns` of one run; the same run
    again gives as many in the same order.

    Args:
        one_thread: take out the time for which the thread waited for a core, as `CpuClock` does.
        owners: note also which steps these are, and their modules (slow: for one run).
    """

    def __init__(self, *, one_thread: bool, owners: Owners | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.times_ns: list[int] = []
        self.waited_ns = 0
        self.steps: list[Step] = []
        self._owners, self._one_thread = owners, one_thread

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not is_work(func):
            return func(*args, **kwargs)
        waited = queued_ns() if self._one_thread else 0
        start = time.perf_counter_ns()
        result = func(*args, **kwargs)
        self._stop(start, waited)
        if self._owners is not None:
            self.steps.append(describe(func, args, kwargs, result))
            self._owners.note(args)
        return result

    def own(self, name: str, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """A watcher: times one of our kernels as it runs when nobody looks."""
        with _disable_current_modes(), watched_by(None):
            waited = queued_ns() if self._one_thread else 0
            start = time.perf_counter_ns()
            result = function(*args)
            self._stop(start, waited)
        if self._owners is not None:
            self.steps.append(describe_own(name, function, args, result))
            self._owners.note(args)
        return result

    def _stop(self, start: int, waited: int) -> None:
        taken = time.perf_counter_ns() - start
        if self._one_thread:
            lost = min(max(queued_ns() - waited, 0), taken)
            self.waited_ns += lost
            taken -= lost
        self.times_ns.append(taken)


def timed(call: Callable[[], object], *, one_thread: bool) -> Stopwatch:
    """Runs `call` once under a stopwatch."""
    watch = Stopwatch(one_thread=one_thread)
    with watch, watched_by(watch.own):
        call()
    return watch


def described(call: Callable[[], object], module: torch.nn.Module) -> Recording:
    """Runs `call`, which calls `module`, once on its real tensors and says which steps it takes."""
    with Paths(module) as paths:
        owners = Owners(paths, module)
        watch = Stopwatch(one_thread=False, owners=owners)
        with watch, watched_by(watch.own):
            call()
        return Recording(steps=tuple(watch.steps), modules=tuple(owners.modules), module_calls=paths.calls)


def empty_step_ns(repeats: int = 400) -> float:
    """What a stopwatch reads for an operator that does nothing: the way into torch and back, in nanoseconds."""
    tensor = torch.empty(1)
    watch = Stopwatch(one_thread=False)
    with torch.inference_mode(), watch:
        for _ in range(repeats):
            torch.ops.aten.alias.default(tensor)
    return median(watch.times_ns)
