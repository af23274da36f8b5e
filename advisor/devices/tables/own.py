"""Our own CSV: one row per execution. What a spreadsheet, a phone's script or another tool can read and write.

Lines that begin with # stand above the header: `# field: value`. Fields: name, origin, source, created, note; device,
batch, threads, dtype, training, kernels; machine, flags, cores, torch, system; network (a JSON object for each whole
network). All may be missing: then the times are taken as float32 inference on a CPU with one thread, of the batch size
that the inputs have. A line `step` (a JSON object) is one operator timed in place that is no layer.

Columns: kind (conv2d, linear, …), method (dense, direct, gather, packed), input_shape and weight_shape (1x64x56x56),
stride, padding, dilation, output_padding (1x1; empty: 1, 0, 1, none), groups (1), bias (false), kept (0), block (0):
the fields of an `Execution`. Then ms, the median; low_ms and high_ms, its interval (empty: ± 10 %); repeats (1).
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.devices.document import to_document
from advisor.devices.profile import Measurement, Profile
from advisor.devices.tables.header import profile_from, settings_lines
from advisor.devices.tables.merge import ASSUMED
from advisor.devices.tables.rows import Row, read_rows
from advisor.errors import PatternError, ProfileError, unknown

if TYPE_CHECKING:
    from advisor.runtime.execution import Execution

TITLE = "sparsity-advisor table 1"
REQUIRED = ("kind", "method", "input_shape", "weight_shape", "ms")
TIMES = ("ms", "low_ms", "high_ms", "repeats")


def execution_columns() -> tuple[str, ...]:
    """The fields of an `Execution`, in their order."""
    from advisor.runtime.execution import Execution

    return tuple(item.name for item in fields(Execution))


def to_csv(profile: Profile) -> str:
    """The profile's measurements, and what they were taken under. Numbers are written so that they read back equal.

    Raises:
        ProfileError: it holds no measurements.
    """
    if not profile.measurements:
        raise ProfileError(
            f"profile {profile.name!r} ({profile.origin}) holds no measured layers, so there is no table to write"
        )
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for line in [TITLE, *settings_lines(profile)]:
        writer.writerow([f"# {line}"])
    for _, whole in sorted(profile.networks.items()):
        writer.writerow([f"# network: {json.dumps(asdict(whole))}"])
    for step in to_document(profile).get("steps", []):
        writer.writerow([f"# step: {json.dumps(step)}"])
    columns = execution_columns()
    writer.writerow([*columns, *TIMES])
    for _, m in sorted(profile.measurements.items()):
        cells = [_cell(getattr(m.execution, column)) for column in columns]
        writer.writerow([*cells, repr(m.median_ms), repr(m.low_ms), repr(m.high_ms), m.repeats])
    return out.getvalue()


def execution_csv(executions: list[Execution]) -> str:
    """A table to fill in: the executions, an empty column ms, and lines for where the times come from."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for line in (TITLE, "machine:", "device:", "threads:"):
        writer.writerow([f"# {line}"])
    columns = execution_columns()
    writer.writerow([*columns, *TIMES])
    for execution in executions:
        writer.writerow([*(_cell(getattr(execution, column)) for column in columns), "", "", "", ""])
    return out.getvalue()


def from_csv(text: str, file: str, **given: Any) -> Profile:
    """The profile that a table of ours describes; `given` (device, threads, machine) wins over what stands in it.

    Raises:
        ProfileError: the first thing that is wrong: file, row, column, got, expected.
    """
    rows, comments = _rows(text, file)
    measurements = read_measurements(rows, file)
    return profile_from(comments, file, measurements, name=Path(file).stem, **given)


def from_filled(text: str, file: str, **given: Any) -> Profile:
    """As `from_csv`, of a table in which some rows have no time: they are left out."""
    rows, comments = _rows(text, file)
    measurements = read_measurements([row for row in rows if row.text("ms")], file)
    return profile_from(comments, file, measurements, name=Path(file).stem, **given)


def _rows(text: str, file: str) -> tuple[list[Row], list[str]]:
    header, rows, comments = read_rows(text, file, required=REQUIRED)
    known = (*execution_columns(), *TIMES)
    for column in header:
        if column not in known:
            raise ProfileError(f"{file}: {unknown('column', column, known)}")
    return rows, comments


def read_measurements(rows: list[Row], file: str) -> dict[str, Measurement]:
    """Key → measurement, every row checked."""
    found: dict[str, Measurement] = {}
    seen: dict[str, int] = {}
    for row in rows:
        execution = read_execution(row)
        if execution.key in seen:
            raise ProfileError(
                f"{file} row {row.number}, column kind: the same work as row {seen[execution.key]} "
                f"({execution.key}), expected each once"
            )
        seen[execution.key] = row.number
        ms = row.ms("ms")
        low, high = row.ms("low_ms", ms / (1 + ASSUMED)), row.ms("high_ms", ms * (1 + ASSUMED))
        if low > ms:
            raise row.bad("low_ms", f"at most ms, {ms:g}")
        if high < ms:
            raise row.bad("high_ms", f"at least ms, {ms:g}")
        found[execution.key] = Measurement(
            execution=execution, median_ms=ms, low_ms=low, high_ms=high, repeats=row.count("repeats", 1, least=1)
        )
    if not found:
        raise ProfileError(f"{file}: no rows with a time, expected one for each piece of work")
    return found


def read_execution(row: Row) -> Execution:
    """What a row describes."""
    from advisor.runtime.execution import Execution, canonical

    kind, method = row.text("kind"), row.text("method")
    weight = row.shape("weight_shape")
    axes = max(len(weight) - 2, 0)
    values: dict[str, Any] = {
        "kind": kind,
        "method": method,
        "input_shape": row.shape("input_shape"),
        "weight_shape": weight,
        "stride": row.shape("stride", (1,) * axes),
        "padding": row.shape("padding", (0,) * axes),
        "dilation": row.shape("dilation", (1,) * axes),
        "output_padding": row.shape("output_padding", ()),
        "groups": row.count("groups", 1, least=1),
        "bias": row.flag("bias"),
        "kept": row.count("kept", 0),
        "block": row.count("block", 0),
    }
    try:
        return canonical(Execution(**values))
    except (PatternError, ValueError, IndexError, ZeroDivisionError) as error:
        column = next((c for c in ("kind", "method") if f"unknown {c}" in str(error)), "weight_shape")
        reason = str(error).rpartition(": ")[2] or type(error).__name__
        raise ProfileError(
            f"{row.file} row {row.number}, column {column}: got {row.text(column)!r}: {reason}"
        ) from error


def _cell(value: object) -> str:
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
