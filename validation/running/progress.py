"""How far a validation is: a bar on standard error, and a small file that a page can watch."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tqdm import tqdm

from advisor.errors import AdvisorError
from advisor.files import write_json
from validation.running.results import run_name

if TYPE_CHECKING:
    from validation.running.logs import Logs
    from validation.training.recipe import EpochResult

EVERY_SECONDS = 0.5


class Watcher(Protocol):
    """What a run tells of itself, wherever it happens."""

    def start(self, run: str, epochs: int) -> None:
        """A run begins or goes on."""

    def at(self, steps: int) -> None:
        """It stands at `steps` optimiser steps, which an earlier call or another worker took."""

    def epoch(self, number: int, text: str = "") -> None:
        """Epoch `number`, counted from 1, begins."""

    def step(self, count: int = 1) -> None:
        """`count` optimiser steps were taken."""

    def saved(self, history: Sequence[EpochResult]) -> None:
        """A checkpoint holds the run as it is after these epochs."""

    def say(self, text: str) -> None:
        """A line for people."""


@dataclass(slots=True, kw_only=True)
class _Run:
    epochs: int = 0
    epoch: int = 0
    steps: int = 0  # of the bar's steps, those of this run
    history: tuple[EpochResult, ...] = ()
    running: bool = False


class Monitor:
    """Counts steps of all runs. As a `Watcher` it follows the run that started last; `of` follows one among many.

    `progress.json` holds: state ("running", "done", "interrupted", "failed"), done and total (optimiser steps),
    run ("erk-1"), epoch, epochs of the run that told something last, running[] (run, epoch, epochs: all at work now),
    seconds_left (null while unknown), finished[] (plan, seed, accuracy), message, pid.
    """

    def __init__(self, out: Path, total: int, *, shown: bool = True, logs: Logs | None = None) -> None:
        """`logs`: what is told of every epoch, too."""
        self._logs = logs
        self._path, self._total = out / "progress.json", total
        self._done = self._skipped = 0
        self._began = self._written = time.perf_counter()
        self._runs: dict[str, _Run] = {}
        self._now = ""
        self._finished: list[dict[str, Any]] = []
        self._bar = tqdm(
            total=total,
            unit="step",
            desc="training",
            file=sys.stderr,
            dynamic_ncols=True,
            disable=not shown,
            leave=False,
            # On a terminal a line that moves; in a log file one line now and then.
            mininterval=0.1 if sys.stderr.isatty() else 15.0,
        )
        self._write("running")

    def of(self, run: str) -> Follower:
        """Follows one run among several at once."""
        return Follower(self, run)

    def start(self, run: str, epochs: int) -> None:
        self.follow_start(run, epochs)

    def at(self, steps: int) -> None:
        self.follow_at(self._now, steps)

    def epoch(self, number: int, text: str = "") -> None:
        self.follow_epoch(self._now, number, text)

    def step(self, count: int = 1) -> None:
        self.follow_step(self._now, count)

    def saved(self, history: Sequence[EpochResult]) -> None:
        self.follow_saved(self._now, history)

    def say(self, text: str) -> None:
        """A line above the bar."""
        self._bar.write(text, file=sys.stderr)

    def follow_start(self, run: str, epochs: int) -> None:
        self._now = run
        entry = self._runs.setdefault(run, _Run())
        entry.epochs, entry.epoch, entry.running = epochs, 0, True
        self._bar.set_description(self._title(), refresh=False)
        self._bar.set_postfix_str("", refresh=False)

    def follow_at(self, run: str, steps: int) -> None:
        entry = self._runs[run]
        moved, entry.steps = steps - entry.steps, steps
        self._done += moved
        self._skipped += moved  # they say nothing about the time left
        if not self._bar.disable:
            self._bar.initial += moved  # so that the bar's own rate leaves them out
        self._bar.update(moved)

    def follow_epoch(self, run: str, number: int, text: str) -> None:
        self._now = run
        self._runs[run].epoch = number
        self._bar.set_description(self._title(), refresh=False)
        if text:
            self._bar.set_postfix_str(text, refresh=False)

    def follow_step(self, run: str, count: int) -> None:
        self._now = run
        self._runs[run].steps += count
        self._done += count
        self._bar.update(count)
        if time.perf_counter() - self._written > EVERY_SECONDS:
            self._write("running")

    def follow_saved(self, run: str, history: Sequence[EpochResult]) -> None:
        self._runs[run].history = tuple(history)
        if self._logs is not None:
            self._logs.saved(run, history)

    def pause(self, run: str) -> tuple[EpochResult, ...]:
        """The run is not at work any more, and may go on later; the epochs that its checkpoint holds."""
        entry = self._runs.setdefault(run, _Run())
        entry.running = False
        return entry.history

    def finished(self, result: dict[str, Any], steps: int) -> None:
        """A run of `steps` has its result, be it from this call, an earlier one, or cut short."""
        run = run_name(result["plan"], result["seed"])
        self.pause(run)
        self.follow_at(run, steps)
        if self._logs is not None:
            self._logs.finished(result)
        self._finished.append({key: result[key] for key in ("plan", "seed", "accuracy")})
        self._write("running")

    @contextmanager
    def until_done(self, runs: int, folder: Path) -> Iterator[None]:
        """Closes as "done"; as "interrupted", with how many of `runs` are kept in `folder`; or as "failed"."""
        try:
            yield
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt)
            message = (
                f"{self.runs_finished} of {runs} runs are kept in {folder}; run the same command again to go on"
                if stopped
                else " ".join(str(error).split())
            )
            self.close("interrupted" if stopped else "failed", message)
            raise
        self.close("done")

    def close(self, state: str, message: str = "") -> None:
        self._bar.close()
        if self._logs is not None:
            self._logs.close()
        self._write(state, message)

    @property
    def runs_finished(self) -> int:
        return len(self._finished)

    def _title(self) -> str:
        """The runs at work: "erk-1 epoch 2/4", with more than one "erk-1 2/4, dense-0 1/4"."""
        at_work = [(name, run) for name, run in self._runs.items() if run.running]
        if len(at_work) > 1:
            told = [f"{name} {run.epoch}/{run.epochs}" for name, run in at_work[:3]]
            return ", ".join(told) + (f" and {len(at_work) - 3} more" if len(at_work) > 3 else "")
        run = self._runs[self._now]
        return f"{self._now} epoch {run.epoch}/{run.epochs}" if run.epoch else self._now

    def _write(self, state: str, message: str = "") -> None:
        now = time.perf_counter()
        self._written = now
        fresh = self._done - self._skipped
        left = (now - self._began) / fresh * (self._total - self._done) if fresh > 0 else None
        shown = self._runs.get(self._now, _Run())
        at_work = state == "running"
        document = {
            "state": state,
            "done": self._done,
            "total": self._total,
            "run": self._now,
            "epoch": shown.epoch,
            "epochs": shown.epochs,
            "running": [
                {"run": name, "epoch": run.epoch, "epochs": run.epochs}
                for name, run in self._runs.items()
                if run.running and at_work
            ],
            "seconds_left": left,
            "finished": self._finished,
            "message": message,
            "pid": os.getpid(),
        }
        # A full disk must not end a run for want of this file; what matters is written elsewhere and complains there.
        with suppress(AdvisorError):
            write_json(self._path, document)


class Follower:
    """One run of a monitor that follows several."""

    def __init__(self, monitor: Monitor, run: str) -> None:
        self._monitor, self._run = monitor, run

    def start(self, run: str, epochs: int) -> None:
        self._monitor.follow_start(run, epochs)

    def at(self, steps: int) -> None:
        self._monitor.follow_at(self._run, steps)

    def epoch(self, number: int, text: str = "") -> None:
        self._monitor.follow_epoch(self._run, number, text)

    def step(self, count: int = 1) -> None:
        self._monitor.follow_step(self._run, count)

    def saved(self, history: Sequence[EpochResult]) -> None:
        self._monitor.follow_saved(self._run, history)

    def say(self, text: str) -> None:
        self._monitor.say(text)

    def drop(self) -> tuple[EpochResult, ...]:
        """The run lost its worker; what its checkpoint holds."""
        return self._monitor.pause(self._run)
