"""The record of a measuring run while it goes on, so that a killed run loses at most the measurement in hand."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from advisor.errors import AdvisorError, ProfileError
from advisor.files import parse_json, take_lock

_VERSION = "sparsity-advisor/journal-1"
_MAX_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What every record of a journal was taken under; a run goes on only from a journal with an equal header."""

    network: str  # its name
    network_hash: str
    settings: dict[str, Any]
    machine: dict[str, Any]
    reference: str  # key of the execution that drift is measured on


class Journal:
    """JSON lines: the header, then one record per measurement, each flushed to the disk before the next is taken.

    Use as a context manager. `records` holds what an earlier run left; a last line cut short by a kill is dropped.
    """

    def __init__(self, path: Path | None, header: Header) -> None:
        self.path = path
        self.records: list[dict[str, Any]] = []
        self._stream: Any = None
        if path is None:
            return
        head = json.loads(json.dumps({"schema": _VERSION} | {n: getattr(header, n) for n in header.__slots__}))
        try:
            self._stream = _opened(path)
            good_bytes = self._read(path, head)
            self._stream.truncate(good_bytes)
            self._stream.seek(good_bytes)
            if not good_bytes:
                self._write(head)
        except BaseException as error:
            self._close()
            if isinstance(error, OSError):
                raise ProfileError(f"cannot write {path}: {error.strerror or error}; choose another --out") from error
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self._stream is not None:
            with contextlib.suppress(OSError):  # a full disk complains once more on close; it has been reported
                self._stream.close()
            self._stream = None

    def append(self, record: dict[str, Any]) -> None:
        """Adds one measurement; when this returns, it survives a kill.

        Raises:
            ProfileError: the disk is full.
        """
        self.records.append(record)
        if self._stream is not None:
            self._write(record)

    def remove(self) -> None:
        """Deletes the file: the profile itself is on the disk now."""
        if self.path is not None:
            self._close()
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()

    def _write(self, document: dict[str, Any]) -> None:
        try:
            self._stream.write(json.dumps(document, allow_nan=False).encode() + b"\n")
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise ProfileError(
                f"cannot write {self.path}: {error.strerror or error}; "
                "what was measured so far is kept there: free space and run the same command again"
            ) from error

    def _read(self, path: Path, head: dict[str, Any]) -> int:
        """Fills `records`; returns the length of the part worth keeping."""
        try:
            size = path.stat().st_size
            data = path.read_bytes() if size <= _MAX_BYTES else b""
        except OSError as error:
            raise ProfileError(f"cannot read {path}: {error.strerror or error}") from error
        if size > _MAX_BYTES:
            raise ProfileError(
                f"{path}: {size:,} bytes is no journal of a measuring run; delete it or choose another --out"
            )
        good = 0
        for number, line in enumerate(data.splitlines(keepends=True)):
            if not line.endswith(b"\n"):
                break  # cut short by a kill
            try:
                record = parse_json(line, f"{path} line {number + 1}")
                if not isinstance(record, dict):
                    raise AdvisorError(f"{path} line {number + 1}: expected an object")
            except AdvisorError as error:
                if good + len(line) == len(data) and number > 0:
                    break
                raise ProfileError(f"{error}; delete {path} or choose another --out") from error
            if number == 0:
                self._compare(path, record, head)
            elif problem := record_problem(record):
                raise ProfileError(
                    f"{path} line {number + 1}: {problem}; it is no journal of a measuring run: delete it or choose "
                    "another --out"
                )
            else:
                self.records.append(record)
            good += len(line)
        return good

    def _compare(self, path: Path, found: dict[str, Any], head: dict[str, Any]) -> None:
        if found == head:
            return
        for name, value in head.items():
            other = found.get(name)
            if other == value:
                continue
            if isinstance(value, dict) and isinstance(other, dict):
                name, value, other = next(
                    (f"{name} {key}", value.get(key), other.get(key))
                    for key in {**value, **other}
                    if value.get(key) != other.get(key)
                )
            raise ProfileError(
                f"{path} is from a run with {name}={str(other)[:120]}, this one has {name}={str(value)[:120]}; "
                "run it as before, delete that file, or choose another --out"
            )
        raise ProfileError(f"{path} is from another version; delete that file or choose another --out")


def record_problem(record: dict[str, Any]) -> str:
    """What makes this no record of a run; empty where nothing does. Keys as `spend` and `Session` write them."""
    from advisor.devices.document import execution_from

    key = record.get("key")
    if not isinstance(key, str):
        return "a record has no key"
    if key.startswith("piece:"):
        from advisor.devices.suite.records import piece_problem

        return piece_problem(record)
    if key.startswith("gpu:"):
        from advisor.devices.cuda.suite.records import gpu_problem

        return gpu_problem(record)
    numbers = ["seconds"]
    if "failed" not in record:
        numbers += ["median_ms", "low_ms", "high_ms", "reference_ms", "repeats"]
    if key.startswith("whole:"):
        numbers.append("eager_ms")
        if problem := _steps_problem(record.get("steps", [])):
            return f"record {key[:120]!r} has {problem}"
    elif key.startswith("pass:"):
        if problem := _pass_problem(record):
            return f"record {key[:120]!r} {problem}"
    else:
        try:
            if execution_from(record["execution"]).key != key:
                return f"record {key[:120]!r} describes other work"
        except (AdvisorError, TypeError, KeyError, ValueError, AttributeError) as error:
            return f"record {key[:120]!r} describes no work ({' '.join(str(error).split())[:120]})"
    together = record.get("together", [0.0, 0.0])
    if not (isinstance(together, list) and len(together) == 2 and all(type(x) in (int, float) for x in together)):
        return f"record {key[:120]!r} has together={str(together)[:40]}, expected two numbers"
    spread = record.get("reference_spread", 0.0)
    if type(spread) not in (int, float) or not 0 <= spread <= 1e6:
        return f"record {key[:120]!r} has reference_spread={str(spread)[:40]}, expected a share"
    waited = record.get("waited", 0.0)
    if isinstance(waited, bool) or not isinstance(waited, int | float) or not 0 <= waited <= 1:
        return f"record {key[:120]!r} has waited={str(waited)[:40]}, expected a share"
    for name in numbers:
        value = record.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            return f"record {key[:120]!r} has {name}={str(value)[:40]}, expected a number above 0"
    return ""


def _pass_problem(record: dict[str, Any]) -> str:
    """What makes this no pass over sparse layers: work and times of each."""
    from advisor.devices.document import execution_from

    found = record.get("found" if "failed" not in record else "tried")
    if not isinstance(found, list):
        return "lists no work"
    if "failed" in record:
        return "" if all(isinstance(key, str) for key in found) else "names no work"
    for item in found:
        try:
            execution_from(item["execution"])
            low, middle, high = (float(item[name]) for name in ("low_ms", "median_ms", "high_ms"))
            fine = isinstance(item["layer"], str) and 0 < low <= middle <= high <= 1e12
        except (AdvisorError, TypeError, KeyError, ValueError, AttributeError) as error:
            return f"describes no work ({' '.join(str(error).split())[:120]})"
        if not fine:
            return f"has a layer of {low}, {middle} and {high} ms"
    total = record.get("sum_ms")
    return "" if isinstance(total, int | float) and total > 0 else f"has sum_ms={str(total)[:40]}"


def _steps_problem(steps: Any) -> str:
    """What makes these no times of steps: [median, low, high] each, all 0 where nothing ran."""
    if not isinstance(steps, list):
        return f"steps={str(steps)[:40]}, expected a list"
    for times in steps:
        fine = isinstance(times, list) and len(times) == 3 and all(type(x) in (int, float) for x in times)
        if not fine or not 0 <= times[1] <= times[0] <= times[2] <= 1e12:
            return f"a step of {str(times)[:60]}, expected median, low and high in ms"
    return ""


def _opened(path: Path) -> Any:
    """The locked file that stands at `path` now, an empty one where there was none.

    Locked before it is read: another run may write into it until it ends, and remove it then.
    """
    while True:
        stream = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        try:
            if not take_lock(stream):
                raise ProfileError(f"{path} is in use: another run measures into it; wait or choose another --out")
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(stream.fileno()), path.stat()):
                    return stream
        except BaseException:
            stream.close()
            raise
        stream.close()
