"""Telling how far a long run is, and stopping it without losing what it has."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Never

from tqdm import tqdm

if TYPE_CHECKING:
    from advisor.devices.measuring.journal import Journal

Hook = Callable[[int, int, float | None, str], None]  # done, total, seconds left if known, what was just done


class Progress:
    """A bar on standard error and a hook for a page; both tell the time left."""

    def __init__(self, total: int, *, shown: bool, hook: Hook | None) -> None:
        self._total, self._shown, self._hook = total, shown, hook
        self._done = self._skipped = 0
        self._began = time.perf_counter()
        self._bar: tqdm[Never] | None = None

    def __enter__(self) -> Progress:
        if self._shown:
            # tqdm's own estimate counts resumed work as done now and knows no deadline, so the time left is ours.
            self._bar = tqdm(
                total=self._total,
                desc="measuring",
                bar_format="{desc} {n_fmt}/{total_fmt} |{bar:20}| {elapsed}{postfix}",
                file=sys.stderr,
                dynamic_ncols=True,
                leave=False,
            )
        self._began = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def skip(self, count: int, deadline: float | None) -> None:
        """Counts what an earlier run did; it says nothing about how long the rest takes."""
        self._skipped += count
        if count:
            self.step("from the interrupted run", deadline, count=count)

    def spend(self, began: float, deadline: float, text: str) -> None:
        """Of a bar of 100 that tells time: moves on to the share of `began` to `deadline` that is spent."""
        spent = (time.perf_counter() - began) / max(deadline - began, 1e-9)
        while self._done < min(int(100 * spent), 99):
            self.step(text, deadline)

    def step(self, text: str, deadline: float | None, *, count: int = 1) -> None:
        """Says that `count` more are done. With a deadline the time left is at most the time until then."""
        self._done += count
        fresh = self._done - self._skipped
        left: float | None = None
        if fresh > 0:
            left = (time.perf_counter() - self._began) / fresh * max(self._total - self._done, 0)
        if deadline is not None:
            until = max(deadline - time.perf_counter(), 0.0)
            left = until if left is None else min(left, until)
        if self._bar is not None:
            self._bar.set_postfix_str(f"{left_text(left)}{text[:60]}", refresh=False)
            self._bar.update(count)
        if self._hook is not None:
            self._hook(self._done, self._total, left, text)


def left_text(seconds: float | None) -> str:
    """ "3 min 20 s left, "; empty where nothing is known yet."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s left, " if minutes else f"{rest} s left, "


@contextmanager
def interruptible(partial: Path | None, journal: Journal) -> Iterator[Callable[[], None]]:
    """Turns Ctrl-C and SIGTERM into one orderly stop that says how to go on. Yields a check to call now and then.

    Raises:
        KeyboardInterrupt: from the check, once a signal came.
    """
    stopped = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        if stopped:  # whoever asks twice does not want to wait for the round in hand
            raise KeyboardInterrupt
        stopped = True

    def check() -> None:
        if stopped:
            raise KeyboardInterrupt

    # Only the main thread may set handlers; a page that measures in a thread stops it by its own means.
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)} if main else {}
    try:
        yield check
        check()
    except KeyboardInterrupt:
        if partial is not None and partial.exists():  # gone once the profile is written
            print(
                f"interrupted: {len(journal.records)} measurements are kept in {partial}; "
                "run the same command again to go on",
                file=sys.stderr,
            )
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
