"""Work in the background of a page: threads inside, commands of the advisor in processes of their own."""

from __future__ import annotations

import atexit
import logging
import re
import signal
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from advisor.errors import AdvisorError

State = Literal["waiting", "running", "done", "failed", "stopped"]
_LOG = logging.getLogger(__name__)
_TAIL_BYTES = 8192
_BAR = re.compile(r"(\w+) (\d+)/(\d+) \|")  # as measuring.progress writes it, then ", 2 min 3 s left, what"
_LEFT = re.compile(r", ([^,|]+) left\b")


class Work(Protocol):
    """What a page waits for."""

    @property
    def state(self) -> State: ...
    @property
    def error(self) -> str: ...
    @property
    def seconds(self) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a command is: `share` of 1 where its bar tells, and its last line."""

    share: float | None
    left: str
    text: str


class Job:
    """One function in a thread of its own. Its result stays here."""

    def __init__(self, function: Callable[[], Any], turns: threading.Semaphore) -> None:
        self.state: State = "waiting"
        self.error = ""
        self.result: Any = None
        self._began = time.monotonic()
        self._ended: float | None = None
        self._function, self._turns = function, turns
        # A daemon, so that closing the server does not wait for a solver.
        threading.Thread(target=self._run, daemon=True).start()

    @property
    def seconds(self) -> float:
        return (self._ended or time.monotonic()) - self._began

    def _run(self) -> None:
        with self._turns:
            self.state = "running"
            try:
                self.result = self._function()
                state: State = "done"
            except AdvisorError as error:
                self.error, state = " ".join(str(error).split()), "failed"
            except Exception as error:
                _LOG.exception("background work failed")
                text = " ".join(str(error).split()) or "no message"
                self.error = f"unexpected {type(error).__name__}: {text}; the server's log has the details"
                state = "failed"
            self._ended = time.monotonic()
            self.state = state


class Command:
    """One command of the advisor in a process of its own, with its output in a file."""

    def __init__(self, arguments: Sequence[str], folder: Path) -> None:
        """Starts `python -m advisor.cli ARGUMENTS`; the log is FOLDER/log.txt."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.arguments = folder, tuple(arguments)
        self._log = folder / "log.txt"
        self._began = time.monotonic()
        self._ended: float | None = None
        self._stopped = False
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "advisor.cli", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        atexit.register(self.stop)

    @property
    def state(self) -> State:
        status = self._process.poll()
        if status is None:
            return "running"
        self._ended = self._ended or time.monotonic()
        if status == 0:
            return "done"
        return "stopped" if self._stopped else "failed"

    @property
    def seconds(self) -> float:
        return (self._ended or time.monotonic()) - self._began

    @property
    def error(self) -> str:
        """The one line with which the command ended."""
        lines = self._lines()
        told = [line.partition("error: ")[2] for line in lines if line.startswith("advisor: error: ")]
        return told[-1] if told else (lines[-1] if lines else "the command ended without a word")

    def progress(self) -> Progress:
        lines = self._lines()
        text = lines[-1] if lines else "starting"
        bar = _BAR.search(text)
        if bar is None:
            return Progress(share=None, left="", text=text)
        done, total = int(bar[2]), int(bar[3])
        left = _LEFT.search(text)
        return Progress(
            share=min(done / total, 1.0) if total else None,
            left=left[1] if left else "",
            text=f"{bar[1]} {done} of {total}",
        )

    def stop(self) -> None:
        """Asks it to stop in order, as Ctrl-C does; what it has is kept, and the same command goes on from there."""
        if self._process.poll() is None:
            self._stopped = True
            self._process.send_signal(signal.SIGINT)

    def _lines(self) -> list[str]:
        try:
            with self._log.open("rb") as log:
                log.seek(max(self._log.stat().st_size - _TAIL_BYTES, 0))
                text = log.read().decode("utf-8", "replace")
        except OSError:
            return []
        return [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]


class Desk:
    """All background work of one server, by its question: whoever asks the same finds the same work.

    So an answer survives a refresh of the page, and two tabs do not compute it twice. The oldest finished answers
    are forgotten.
    """

    def __init__(self, *, at_once: int = 2, kept: int = 32) -> None:
        self._turns = threading.Semaphore(at_once)
        self._kept = kept
        self._held: OrderedDict[Hashable, Job | Command] = OrderedDict()
        self._lock = threading.Lock()
        self.notes: dict[Hashable, Any] = {}  # small things to find again after a refresh

    def find(self, key: Hashable) -> Any:
        """The Job or Command under this key, or None."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
            return self._held.get(key)

    def job(self, key: Hashable, function: Callable[[], Any]) -> Job:
        """The job under this key; started when there is none."""
        with self._lock:
            held = self._held.get(key)
            if not isinstance(held, Job):
                held = self._held[key] = Job(function, self._turns)
                self._forget()
            return held

    def again(self, key: Hashable, function: Callable[[], Any]) -> Job:
        """The job under this key; started anew where it failed."""
        with self._lock:
            held = self._held.get(key)
            if held is not None and held.state == "failed":
                del self._held[key]
        return self.job(key, function)

    def command(self, key: Hashable, arguments: Sequence[str], folder: Path) -> Command:
        """The command under this key; started when there is none that runs."""
        with self._lock:
            held = self._held.get(key)
            if not isinstance(held, Command) or held.state != "running":
                held = self._held[key] = Command(arguments, folder)
                self._forget()
            return held

    def _forget(self) -> None:
        for key in [key for key, work in self._held.items() if work.state in ("done", "failed", "stopped")]:
            if len(self._held) <= self._kept:
                break
            del self._held[key]
