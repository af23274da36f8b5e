"""Where the rows of a cost table come from: a CSV, a data frame, or a file whose kind its text tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from advisor.devices.tables.rows import read_rows, read_text
from advisor.devices.tables.spdy_lines import looks_like
from advisor.errors import PlanError, ProfileError
from advisor.planning.table import CostTable
from advisor.planning.tables.rows import Row, table_of
from advisor.planning.tables.spdy import from_spdy


def open_table(path: str | Path, losses: str | None = None) -> CostTable:
    """A CSV of costs, or a timing file of SPDY; its text tells which.

    Args:
        path: the file.
        losses: for a timing file, which has none: a CSV of them, or the name of a prior (see `spdy.PRIORS`).

    Raises:
        PlanError, ProfileError: the first thing that is wrong.
    """
    if looks_like(read_text(path)):
        from advisor.planning.tables.spdy import PRIORS

        if losses is None or losses in PRIORS:
            return from_spdy(path, prior=losses or "log")
        if not Path(losses).exists():
            raise PlanError(f"{losses}: no such file, and no prior of losses; known: {', '.join(PRIORS)}")
        return from_spdy(path, loss=losses)
    if losses is not None:
        raise PlanError(f"{path}: a CSV has its losses in the column loss; leave out {losses!r}")
    return from_csv(path)


def from_csv(path: str | Path) -> CostTable:
    """See `CostTable.from_csv`."""
    header, rows = csv_rows(path)
    return table_of(header, rows, Path(path).stem, file=str(path))


def csv_rows(path: str | Path) -> tuple[list[str], list[Row]]:
    """Header and rows of a CSV, numbered by the lines of the file from 1, as an editor does."""
    try:
        header, rows, _ = read_rows(read_text(path), str(path))
    except ProfileError as error:
        raise PlanError(str(error)) from None
    return header, [Row(f"{path} row {row.number}", row.cells) for row in rows]


def from_dataframe(frame: Any, *, name: str = "table") -> CostTable:
    """See `CostTable.from_dataframe`."""
    try:
        columns = list(frame.columns)
        values = [list(frame[column]) for column in columns]
    except (AttributeError, TypeError, KeyError) as error:
        raise PlanError(
            f"{name}: got a {type(frame).__name__}, expected a data frame with the columns layer, density, loss and "
            "the costs"
        ) from error
    header = [str(column).strip() for column in columns]
    if twice := next((column for column in header if header.count(column) > 1), None):
        raise PlanError(f"{name} header, column {twice}: it stands there twice, expected once")
    rows = [
        Row(f"{name} row {number}", dict(zip(header, cells, strict=True)))
        for number, cells in enumerate(zip(*values, strict=True))
    ]
    return table_of(header, rows, name, file=name)
