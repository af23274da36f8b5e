"""Runs that lose their worker: when to try again, when to give up, and what is reported then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from validation.engines.engine import Result, Task
from validation.training.recipe import EpochResult

# What torch and Python say when an allocation fails; not every one of them is a MemoryError.
_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "std::bad_alloc", "Cannot allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out, on the CPU or on a GPU."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | OSError) and any(words in str(error) for words in _NO_MEMORY)
    )


class Attempts:
    """Counts how often each run lost its worker since it last got further.

    A machine that is taken away every hour costs a run nothing; one that kills its worker in the same epoch again and
    again is lost.
    """

    def __init__(self, retries: int) -> None:
        self._retries = retries
        self._deaths: dict[str, int] = {}
        self._reached: dict[str, int] = {}

    def died(self, task: Task, epochs: int) -> bool:
        """A worker died on this run, whose checkpoint is of `epochs` epochs; whether the run may try again."""
        if epochs > self._reached.get(task.name, 0):
            self._deaths[task.name] = 0
        self._reached[task.name] = epochs
        self._deaths[task.name] = self._deaths.get(task.name, 0) + 1
        return self._deaths[task.name] <= self._retries

    def lost(self, task: Task, counts: Mapping[str, int], history: Sequence[EpochResult], reason: str) -> Result:
        """What stands in the report for a run that is given up: it failed, and by no fault of its numbers."""
        deaths = self._deaths.get(task.name, 0)
        times = "once" if deaths == 1 else f"{deaths} times"
        return {
            "plan": task.label,
            "seed": task.seed,
            "accuracy": None,
            "loss": None,
            "seconds": sum(epoch.seconds for epoch in history),
            "params": counts["params"],
            "macs": counts["macs"],
            "epochs": [epoch.to_json() for epoch in history],
            "problem": f"its worker died {times} in epoch {len(history) + 1}, the last time: {reason}; "
            "run the same command again to try anew from there",
            "lost": True,
        }
