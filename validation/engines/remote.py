"""A trial on another machine: it runs in a folder of its own, and what changes there travels with its events."""

from __future__ import annotations

import atexit
import glob
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from validation.engines.engine import Task
from validation.engines.events import Event
from validation.engines.parcel import Parcel, unfold, unpack
from validation.engines.perform import LAST, mishap, perform, task_from_json
from validation.running.results import RUNS
from validation.running.trials import Study

Files = dict[str, bytes | None]  # path within the folder of a validation → content; None: it is gone
CARRIES = ("saved", *LAST)  # the events that files travel with

# What this process has unfolded last: Ray gives a process many tasks of one validation.
_unfolded: dict[str, tuple[str, Study, Mapping[str, Mapping[str, int]]]] = {}


class _UnheardError(BaseException):
    """Nobody listens any more: ends the run's thread, past every handler of errors."""


def trial(parcel: Parcel, key: str, task: Mapping[str, Any], files: Files) -> Iterator[Event]:
    """Runs a task and yields its events; some have `files` that changed since the last of them.

    Args:
        key: names the parcel.
        task: as `perform.task_to_json` gives it.
        files: that the run has so far.
    """
    with tempfile.TemporaryDirectory(prefix="advisor-trial-") as folder:
        out = Path(folder)
        (out / RUNS).mkdir()
        write_files(files, out)
        heard: SimpleQueue[Event] = SimpleQueue()
        closed = threading.Event()
        seen = _stamps(out)

        def send(event: Event) -> None:
            nonlocal seen
            if closed.is_set():
                raise _UnheardError
            if event["event"] in CARRIES:
                now = _stamps(out)
                changed: Files = {name: (out / name).read_bytes() for name in now if now[name] != seen.get(name)}
                event = event | {"files": changed | dict.fromkeys(seen.keys() - now.keys())}
                seen = now
            heard.put(event)

        # In a thread of its own, since a run calls its watcher and Ray wants a generator.
        arguments = (parcel, key, task_from_json(task), out, send)
        threading.Thread(target=_run, args=arguments, daemon=True).start()
        try:
            while True:
                event = heard.get()
                yield event
                if event["event"] in LAST:
                    return
        finally:
            closed.set()


def _run(parcel: Parcel, key: str, task: Task, out: Path, send: Callable[[Event], None]) -> None:
    with suppress(_UnheardError):
        _tell(parcel, key, task, out, send)


def _tell(parcel: Parcel, key: str, task: Task, out: Path, send: Callable[[Event], None]) -> None:
    try:
        if key not in _unfolded:
            for before, _, _ in _unfolded.values():
                shutil.rmtree(before, ignore_errors=True)
            _unfolded.clear()
            folder = tempfile.mkdtemp(prefix="advisor-parcel-")
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            unfold(parcel, Path(folder))
            _unfolded[key] = (folder, *unpack(Path(folder), out))
        _, study, counts = _unfolded[key]
    except Exception as error:
        send(mishap(error))
        return
    perform(replace(study, out=out), counts, task, send)


def files_of(out: Path, name: str) -> Files:
    """What a validation's folder holds of the run `name`."""
    safe = glob.escape(name)
    found = [*out.glob(f"*/{safe}.*"), *out.glob(f"*/{safe}@*"), *out.glob(f"*/{safe}/**/*")]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in found if path.is_file()}


def write_files(files: Files, out: Path) -> None:
    """Puts files that travelled into `out`, each in one piece.

    Raises:
        ValueError: one would lie outside.
    """
    from advisor.files import write_bytes

    for name, content in files.items():
        path = out / name
        if not path.resolve().is_relative_to(out.resolve()):
            raise ValueError(f"{name!r} lies outside {out}")
        if content is None:
            path.unlink(missing_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)


def _stamps(out: Path) -> dict[str, tuple[int, int]]:
    """Every file with its time and size, but those that are being written."""
    found = {}
    for path in out.rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            about = path.stat()
            found[path.relative_to(out).as_posix()] = (about.st_mtime_ns, about.st_size)
    return found
