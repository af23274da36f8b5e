"""Workers as processes of this machine."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

import torch

from validation.engines.events import Event
from validation.engines.parcel import pack, unfold
from validation.engines.perform import LAST, task_to_json

if TYPE_CHECKING:
    from validation.engines.engine import Job, Task


@contextmanager
def processes(job: Job, workers: int) -> Iterator[Processes]:
    """A crew of up to `workers` processes; they are ended at the end."""
    with tempfile.TemporaryDirectory(prefix="advisor-runs-") as folder:
        unfold(pack(job), Path(folder))
        crew = Processes(job, workers, Path(folder))
        try:
            yield crew
        finally:
            crew.close()


class Processes:
    """A crew that starts a process when a task needs one."""

    def __init__(self, job: Job, workers: int, parcel: Path) -> None:
        self._command = [sys.executable, "-m", "validation.engines.worker", str(parcel), str(job.study.out.resolve())]
        self._limit, self._kills = workers, oom_kills()
        self._gpus = torch.cuda.device_count() if job.study.recipe.device == "cuda" else 0
        self._tasks: dict[_Process, Task | None] = {}
        self._heard: SimpleQueue[tuple[_Process, Event | None]] = SimpleQueue()
        self._news: list[str] = []
        self._started = 0

    def room(self) -> bool:
        return sum(task is not None for task in self._tasks.values()) < self._limit

    def give(self, task: Task) -> None:
        worker = next((one for one, busy in self._tasks.items() if busy is None), None) or self._start()
        self._tasks[worker] = task
        worker.give(task)

    def listen(self) -> tuple[Task | None, Event]:
        while not self._news:
            worker, event = self._heard.get()
            task = self._tasks.get(worker)
            if event is None:
                self._tasks.pop(worker, None)
                event = {"event": "died", "text": self._why(worker)}
            elif event["event"] == "memory":
                del self._tasks[worker]  # it ends by itself
                self._fewer()
            elif event["event"] in LAST:
                self._tasks[worker] = None
            if task is not None:  # an idle process may die, too; the next task starts another
                return task, event
        return None, {"event": "say", "text": self._news.pop()}

    def close(self) -> None:
        """Ends all processes. A run loses its epoch at most, as with any kill."""
        for worker in self._tasks:
            worker.end()

    def _start(self) -> _Process:
        environment = dict(os.environ)
        environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
        if self._gpus > 1:
            seen = environment.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(self._gpus)))
            environment["CUDA_VISIBLE_DEVICES"] = seen.split(",")[self._started % self._gpus]
        self._started += 1
        return _Process(self._command, environment, self._heard)

    def _why(self, worker: _Process) -> str:
        status = worker.end()
        if status >= 0:
            return f"exit status {status}"
        text = f"killed by {signal.Signals(-status).name}"
        if -status == signal.SIGKILL and (kills := oom_kills()) > self._kills:
            self._kills = kills
            self._fewer()
            text += ", when the system had no memory left"
        return text

    def _fewer(self) -> None:
        """One run less at once: together they need more memory than there is."""
        if self._limit > 1:
            self._limit -= 1
            self._news.append(f"memory ran out; from now on {self._limit} at once")


class _Process:
    """One process, and a thread that hears it."""

    def __init__(self, command: list[str], environment: dict[str, str], heard: SimpleQueue) -> None:  # type: ignore[type-arg]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True, encoding="utf-8"
        )
        self._thread = Thread(target=self._hear, args=(heard,), daemon=True)
        self._thread.start()

    def give(self, task: Task) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it died meanwhile: its thread says so
            self._process.stdin.write(json.dumps(task_to_json(task)) + "\n")
            self._process.stdin.flush()

    def end(self) -> int:
        """Its exit status; it is killed where it still runs."""
        self._process.kill()
        status = self._process.wait()
        self._thread.join()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):
                stream.close()
        return status

    def _hear(self, heard: SimpleQueue) -> None:  # type: ignore[type-arg]
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError):  # half a line of a process that was killed
            for line in self._process.stdout:
                heard.put((self, json.loads(line)))
        heard.put((self, None))


def oom_kills() -> int:
    """How many processes Linux has killed for want of memory since it booted; 0 where it does not say."""
    try:
        text = Path("/proc/vmstat").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill ")), 0)
