"""How far a validation is: a bar on standard error, and a small file that a page can watch."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from advisor.errors import AdvisorError
from advisor.files import write_json

EVERY_SECONDS = 0.5


class Monitor:
    """Counts steps of all runs.

    `progress.json` holds: state ("running", "done", "interrupted", "failed"), done and total (optimiser steps),
    run ("erk-1"), epoch, epochs, seconds_left (null while unknown), finished[] (plan, seed, accuracy), message, pid.
    """

    def __init__(self, out: Path, total: int, *, shown: bool = True) -> None:
        self._path, self._total = out / "progress.json", total
        self._done = self._skipped = 0
        self._began = self._written = time.perf_counter()
        self._run, self._epoch, self._epochs, self._before = "", 0, 0, 0
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

    def start(self, run: str, epochs: int) -> None:
        """A run begins or goes on."""
        self._run, self._epochs, self._epoch, self._before = run, epochs, 0, self._done
        self._bar.set_description(run, refresh=False)
        self._bar.set_postfix_str("", refresh=False)

    def epoch(self, number: int, text: str = "") -> None:
        """Epoch `number`, counted from 1, begins."""
        self._epoch = number
        self._bar.set_description(f"{self._run} epoch {number}/{self._epochs}", refresh=False)
        if text:
            self._bar.set_postfix_str(text, refresh=False)

    def skip(self, steps: int) -> None:
        """Steps that an earlier call took; they say nothing about the time left."""
        self._skipped += steps
        self._done += steps
        if not self._bar.disable:
            self._bar.initial += steps  # so that the bar's own rate leaves them out
        self._bar.update(steps)

    def step(self, count: int = 1) -> None:
        """`count` optimiser steps were taken."""
        self._done += count
        self._bar.update(count)
        if time.perf_counter() - self._written > EVERY_SECONDS:
            self._write("running")

    def finished(self, result: dict[str, Any], steps: int) -> None:
        """A run of `steps` has its result, be it from this call, an earlier one, or cut short."""
        self.skip(self._before + steps - self._done)
        self._finished.append({key: result[key] for key in ("plan", "seed", "accuracy")})
        self._write("running")

    def say(self, text: str) -> None:
        """A line above the bar."""
        self._bar.write(text, file=sys.stderr)

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
        self._write(state, message)

    @property
    def runs_finished(self) -> int:
        return len(self._finished)

    def _write(self, state: str, message: str = "") -> None:
        now = time.perf_counter()
        self._written = now
        fresh = self._done - self._skipped
        left = (now - self._began) / fresh * (self._total - self._done) if fresh else None
        document = {
            "state": state,
            "done": self._done,
            "total": self._total,
            "run": self._run,
            "epoch": self._epoch,
            "epochs": self._epochs,
            "seconds_left": left,
            "finished": self._finished,
            "message": message,
            "pid": os.getpid(),
        }
        # A full disk must not end a run for want of this file; what matters is written elsewhere and complains there.
        with suppress(AdvisorError):
            write_json(self._path, document)
