"""Measured layers as a CSV file that anyone can write.

One row a layer, forward, with the columns

    kind,n,c_in,c_out,h,w,kernel,stride,padding,groups,dtype,ms[,order]

kind     conv2d or linear
n        images; for a linear layer its rows (all axes but the last multiplied)
c_in     input channels of all groups together
c_out    output channels
h, w     of the input, before padding
kernel   3, or 3x5 (height x width)
stride   1, or 2x2
padding  0, or 1x2
groups   1 for an ordinary layer, c_in for a depthwise one
dtype    float32, tf32, float16, bfloat16 or float64: what the products compute in
ms       median time of one call
order    optional: a number that grows as the table was taken, where it was taken in one go

A linear layer may leave h, w, kernel, stride, padding and groups empty. With `order`, a time that every row gains as
the session gets older (a profiler that remembers too much, for one) is found and taken out.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from advisor.devices.gpu.facts import ITEM_BYTES
from advisor.devices.gpu.shapes import Array, Shapes, from_rows
from advisor.errors import ProfileError

COLUMNS = ("kind", "n", "c_in", "c_out", "h", "w", "kernel", "stride", "padding", "groups", "dtype", "ms")
_KINDS = ("conv2d", "linear")
_LIMIT = 10**7


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """R measured layers of one GPU in one dtype.

    Attributes:
        times: (R,) ms.
        order: (R,) from 0 to 1 over the session, or None where it is not known.
    """

    shapes: Shapes
    times: Array
    order: Array | None = None

    def __len__(self) -> int:
        return len(self.times)

    def __getitem__(self, rows: Any) -> Table:
        return Table(
            shapes=self.shapes[rows],
            times=self.times[rows],
            order=None if self.order is None else self.order[rows],
        )


def read_table(path: str | Path, dtype: str | None = None) -> tuple[Table, str]:
    """Reads and checks a CSV file of this form.

    Args:
        path: the file.
        dtype: which rows to take; may be None where the file has only one.

    Returns:
        The rows, and their dtype.

    Raises:
        ProfileError: one line that names the file, row (the header is row 1), column, what stands there and what is
            expected.
    """
    rows = _read(path)
    found = sorted({row["dtype"] for row in rows})
    if dtype is None and len(found) > 1:
        raise ProfileError(f"{path}: holds dtypes {', '.join(found)}; choose one with --dtype")
    wanted = dtype or found[0]
    kept = [row for row in rows if row["dtype"] == wanted]
    if not kept:
        raise ProfileError(f"{path}: no row with dtype {wanted}; found: {', '.join(found)}")
    return to_table(kept), wanted


def to_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Rows of one dtype, already checked, as a table; "order" is used where every row has it."""
    times = np.array([float(row["ms"]) for row in rows])
    order = None
    if all(row.get("order") is not None for row in rows) and len(rows) > 1:
        raw = np.array([float(row["order"]) for row in rows])
        span = float(np.ptp(raw))
        order = (raw - raw.min()) / span if span > 0 else None
    return Table(shapes=from_rows(rows), times=times, order=order)


def _read(path: str | Path) -> list[dict[str, Any]]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            given = [name.strip() for name in reader.fieldnames or ()]
            if missing := [name for name in COLUMNS if name not in given]:
                raise ProfileError(
                    f"{path}: row 1 has no column {', '.join(missing)}; expected {','.join(COLUMNS)} and perhaps order"
                )
            reader.fieldnames = given
            rows = [_row(row, f"{path}: row {reader.line_num}") for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ProfileError(f"{path}: {error}; expected a CSV file with the columns {','.join(COLUMNS)}") from error
    if not rows:
        raise ProfileError(f"{path}: no rows below the header; expected one for each measured layer")
    return rows


def _row(given: dict[str, Any], where: str) -> dict[str, Any]:
    if None in given or any(value is None for value in given.values()):
        raise ProfileError(f"{where}: not as many fields as the header has columns; write one for each")
    text = {name: str(value).strip() for name, value in given.items()}
    if text["kind"] not in _KINDS:
        raise ProfileError(f"{where}, column kind: got {text['kind']!r}, expected {' or '.join(_KINDS)}")
    if text["dtype"] not in ITEM_BYTES:
        raise ProfileError(f"{where}, column dtype: got {text['dtype']!r}, expected {', '.join(ITEM_BYTES)}")
    linear = text["kind"] == "linear"
    if linear:
        plain = {"h": "1", "w": "1", "kernel": "1", "stride": "1", "padding": "0", "groups": "1"}
        text |= {name: text[name] or value for name, value in plain.items()}
    row: dict[str, Any] = {"kind": text["kind"], "dtype": text["dtype"]}
    for name in ("n", "c_in", "c_out", "h", "w", "groups"):
        row[name] = _whole(text[name], f"{where}, column {name}", least=1)
    for name, both in (
        ("kernel", ("kh", "kw")),
        ("stride", ("stride", "stride_w")),
        ("padding", ("padding", "padding_w")),
    ):
        sides = text[name].split("x")
        if len(sides) > 2:
            raise ProfileError(f"{where}, column {name}: got {text[name]!r}, expected 3 or 3x5")
        least = 0 if name == "padding" else 1
        values = [_whole(side, f"{where}, column {name}", least=least) for side in sides]
        row |= dict(zip(both, (values[0], values[-1]), strict=True))
    row["ms"] = _positive(text["ms"], f"{where}, column ms")
    row["order"] = _finite(text["order"], f"{where}, column order") if text.get("order") else None
    if row["c_in"] % row["groups"] or row["c_out"] % row["groups"]:
        raise ProfileError(f"{where}, column groups: {row['groups']} does not divide {row['c_in']} and {row['c_out']}")
    if linear and max(row["h"], row["w"], row["kh"], row["kw"], row["groups"]) > 1:
        raise ProfileError(f"{where}, column kernel: a linear layer has none; leave h, w, kernel and groups empty")
    if row["h"] + 2 * row["padding"] < row["kh"] or row["w"] + 2 * row["padding_w"] < row["kw"]:
        raise ProfileError(
            f"{where}, column kernel: {row['kh']}x{row['kw']} is larger than the padded input of "
            f"{row['h'] + 2 * row['padding']}x{row['w'] + 2 * row['padding_w']}"
        )
    return row


def _whole(text: str, where: str, *, least: int) -> int:
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= _LIMIT:
        raise ProfileError(f"{where}: got {text!r}, expected a whole number from {least} to {_LIMIT}")
    return int(text)


def _finite(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ProfileError(f"{where}: got {text!r}, expected a number")
    return value


def _positive(text: str, where: str) -> float:
    value = _finite(text, where)
    if not 1e-6 <= value <= 1e8:
        raise ProfileError(f"{where}: got {text!r}, expected milliseconds from 1e-6 to 1e8")
    return value
