"""Rows of a CSV that anyone may have written: read strictly, and every complaint names file, row and column."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from advisor.errors import ProfileError

MAX_BYTES = 64 * 1024 * 1024
MAX_ROWS = 200_000  # as many as a profile may hold


@dataclass(frozen=True, slots=True)
class Row:
    """One row. `number` counts the lines of the file from 1, as an editor does."""

    file: str
    number: int
    cells: Mapping[str, str]

    def bad(self, column: str, expected: str) -> ProfileError:
        """The complaint about one cell."""
        got = self.cells.get(column, "")[:60]
        return ProfileError(f"{self.file} row {self.number}, column {column}: got {got!r}, expected {expected}")

    def text(self, column: str) -> str:
        """The cell without blanks at its ends; "" where the column is missing."""
        return self.cells.get(column, "").strip()

    def count(self, column: str, default: int | None = None, *, least: int = 0) -> int:
        """A whole number of at least `least`; `default` for an empty cell, refused where that is None."""
        text = self.text(column)
        if not text and default is not None:
            return default
        try:
            value = float(text)  # spreadsheets write 64 as 64.0
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value == int(value) and least <= value <= 1_000_000_000):
            raise self.bad(column, f"a whole number from {least} on")
        return int(value)

    def ms(self, column: str, default: float | None = None) -> float:
        """A time above 0."""
        text = self.text(column)
        if not text and default is not None:
            return default
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and 0 < value <= 1e9):
            raise self.bad(column, "a time in ms above 0")
        return value

    def flag(self, column: str, default: bool = False) -> bool:
        """True or false, as 1/0, true/false or yes/no."""
        text = self.text(column).lower()
        if not text:
            return default
        if text not in _FLAGS:
            raise self.bad(column, "true or false")
        return _FLAGS[text]

    def shape(self, column: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """Sizes as 1x64x56x56."""
        text = self.text(column)
        if not text and default is not None:
            return default
        parts = text.lower().replace("×", "x").split("x")
        if not all(part.strip().isdecimal() for part in parts):
            raise self.bad(column, "sizes as 1x64x56x56")
        sizes = tuple(int(part) for part in parts)
        if len(sizes) > 8 or max(sizes) > 1_000_000_000:
            raise self.bad(column, "at most 8 sizes, each at most 1,000,000,000")
        return sizes


_FLAGS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def read_text(path: str | Path) -> str:
    """The file as UTF-8 text.

    Raises:
        ProfileError: missing, not a plain file, too large, or not text.
    """
    place = Path(path)
    try:
        if not place.is_file():
            raise ProfileError(f"{place}: no such file" if not place.exists() else f"{place}: not a file")
        with place.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ProfileError(f"cannot read {place}: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise ProfileError(f"{place}: larger than {MAX_BYTES:,} bytes, expected a table below that")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ProfileError(f"{place}: not UTF-8 text at byte {error.start}, expected a table of text") from error


def read_rows(text: str, file: str, *, required: Sequence[str] = ()) -> tuple[list[str], list[Row], list[str]]:
    """The header, the rows below it, and the comments above it (lines that begin with #, without the #).

    Raises:
        ProfileError: no header, a column that is missing or stands twice, a row with too many or too few cells.
    """
    header: list[str] = []
    rows: list[Row] = []
    comments: list[str] = []
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for cells in reader:
            number = reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if cells[0].lstrip().startswith("#"):
                # A spreadsheet pads them with empty cells, or cuts an unquoted one at its commas.
                comments.append(",".join(cells).rstrip(", ").lstrip().lstrip("#").strip())
            elif not header:
                header = [cell.strip() for cell in cells]
                _check_header(header, file, number, required)
            else:
                if len(cells) != len(header):
                    raise ProfileError(
                        f"{file} row {number}: got {len(cells)} cells, expected {len(header)}, one for each column of "
                        "the header"
                    )
                rows.append(Row(file, number, dict(zip(header, cells, strict=True))))
                if len(rows) > MAX_ROWS:
                    raise ProfileError(f"{file}: more than {MAX_ROWS:,} rows, expected at most that many")
    except csv.Error as error:
        raise ProfileError(f"{file} row {reader.line_num}: no CSV: {error}; expected cells between commas") from error
    if not header:
        raise ProfileError(f"{file}: empty, expected a header of column names and rows below it")
    return header, rows, comments


def _check_header(header: list[str], file: str, number: int, required: Sequence[str]) -> None:
    for column in header:
        if header.count(column) > 1:
            raise ProfileError(f"{file} row {number}, column {column[:60]}: the header names it twice, expected once")
    if missing := [column for column in required if column not in header]:
        raise ProfileError(
            f"{file} row {number}, column {missing[0]}: the header lacks it, expected the columns {', '.join(required)}"
        )
