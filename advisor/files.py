"""Files that others wrote and files that others will read: bounded, checked, and never half-written."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from advisor.errors import AdvisorError

MAX_JSON_BYTES = 64 * 1024 * 1024
MAX_JSON_DEPTH = 40


def write_bytes(path: str | Path, data: bytes) -> None:
    """Writes beside `path`, flushes to the disk, then renames: whoever reads sees the old file or the whole new one.

    A symbolic link stays one: the file that it points to is renewed. Devices and pipes are written to as they are.

    Raises:
        AdvisorError: the folder is missing, is not writable, or the disk is full; nothing is left behind.
    """
    target = Path(path)
    temporary: str | None = None
    try:
        if target.exists() and not (target.is_file() or target.is_dir()):
            target.write_bytes(data)  # a device or a pipe (/dev/stdout) is written to, never replaced by a file
            return
        target = Path(os.path.realpath(target))
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes private files; the result should be as readable as any other the user writes.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, target)
    except BaseException as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
            raise AdvisorError(
                f"cannot write {target}: {reason}; free space or choose another place, then run it again"
            ) from error
        raise


def take_lock(stream: BinaryIO) -> bool:
    """Locks an open file until it is closed or the process ends, however it ends.

    Returns:
        False where another process has the lock; True also where the system or the file system knows no locks.
    """
    try:
        import fcntl
    except ImportError:  # not on Windows
        return True
    try:
        fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks
    return True


def write_json(path: str | Path, document: Any, *, short: bool = False) -> None:
    """Writes JSON with `write_bytes`; NaN and infinities are refused, since JSON has neither. `short`: on one line."""
    form: dict[str, Any] = {"separators": (",", ":")} if short else {"indent": 1}
    write_bytes(path, (json.dumps(document, allow_nan=False, **form) + "\n").encode())


def read_json(path: str | Path, *, error: type[AdvisorError] = AdvisorError, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Reads a JSON file that anyone may have written.

    Args:
        error: class of what is raised.
        max_bytes: larger files are not read.

    Raises:
        error: one line: missing, not a plain file, too large, not UTF-8, truncated, too deep, NaN, a key given twice.
    """
    place = Path(path)
    try:
        if not place.is_file():
            raise error(f"{place}: no such file" if not place.exists() else f"{place}: not a file")
        with place.open("rb") as stream:
            data = stream.read(max_bytes + 1)
    except OSError as failure:
        raise error(f"cannot read {place}: {failure.strerror or failure}") from failure
    if len(data) > max_bytes:
        raise error(f"{place}: larger than {max_bytes:,} bytes, expected a JSON file below that")
    return parse_json(data, str(place), error=error)


def parse_json(data: bytes, where: str, *, error: type[AdvisorError] = AdvisorError) -> Any:
    """Parses strictly; `where` names the source in errors."""

    def constant(text: str) -> NoReturn:
        raise ValueError(f"{text} is no JSON number")

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) != len(items):
            names = [name for name, _ in items]
            raise ValueError(f"key {next(n for n in names if names.count(n) > 1)[:80]!r} is given twice")
        return found

    def number(text: str) -> float:
        value = float(text)
        if value in (float("inf"), float("-inf")):
            raise ValueError(f"number {text[:20]} is too large")
        return value

    try:
        document = json.loads(
            data.decode("utf-8"), parse_constant=constant, parse_float=number, object_pairs_hook=pairs
        )
    except UnicodeDecodeError as failure:
        raise error(f"{where}: not UTF-8 text at byte {failure.start}, expected JSON") from failure
    except json.JSONDecodeError as failure:
        raise error(
            f"{where}: not JSON at line {failure.lineno}, column {failure.colno}: {failure.msg}; "
            "truncated, or not this kind of file"
        ) from failure
    except (ValueError, RecursionError) as failure:
        reason = "nested too deeply" if isinstance(failure, RecursionError) else str(failure)[:200]
        raise error(f"{where}: {reason}") from failure
    if _depth(document) > MAX_JSON_DEPTH:
        raise error(f"{where}: nested more than {MAX_JSON_DEPTH} deep")
    return document


def _depth(document: Any) -> int:
    level, current = 0, [document]
    while current:
        level += 1
        if level > MAX_JSON_DEPTH:
            break
        deeper: list[Any] = []
        for item in current:
            if isinstance(item, dict):
                deeper.extend(item.values())
            elif isinstance(item, list):
                deeper.extend(item)
        current = [item for item in deeper if isinstance(item, dict | list)]
    return level
