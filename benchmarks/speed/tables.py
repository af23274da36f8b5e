"""Rows of numbers as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tabulate import tabulate

from speed.layers import Cell

Row = Mapping[str, object]
# Column → its heading and how its numbers are written.
COLUMNS = {
    "network": ("network", ""),
    "batch": ("batch", ""),
    "threads": ("threads", ""),
    "layer": ("layer", ""),
    "kernel": ("kernel", ""),
    "count": ("times", ""),
    "pattern": ("pattern", ""),
    "density": ("d", "g"),
    "how": ("how", ""),
    "ms": ("ms", ".2f"),
    "over_eager": ("over eager", ".2f"),
    "over_best": ("over best dense", ".2f"),
    "over_compiled": ("over compile", ".2f"),
    "layers_over_best": ("mean of layers", ".2f"),
    "whole_over_eager": ("incl. dense: over eager", ".2f"),
    "whole_over_best": ("over best", ".2f"),
    "gflops": ("GFLOP/s", ".1f"),
    "share": ("of peak", ".0%"),
    "scaling": ("x 1 thread", ".2f"),
    "slower": ("slower", ""),
    "layers": ("of layers", ""),
    "networks": ("networks", ""),
    "memory": ("weights", ".1%"),
    "error": ("rel. error", ".1g"),
}


def table(rows: Sequence[Row]) -> str:
    """Columns that any row has, in the order of COLUMNS."""
    names = [name for name in COLUMNS if any(name in row for row in rows)]
    lines = [[_text(row.get(name), COLUMNS[name][1]) for name in names] for row in rows]
    sides = ["right" if any(isinstance(row.get(name), int | float) for row in rows) else "left" for name in names]
    return tabulate(lines, [COLUMNS[name][0] for name in names], "pipe", disable_numparse=True, colalign=sides)


def _text(value: object, form: str) -> str:
    if value is None:
        return ""
    return format(value, form) if form and isinstance(value, int | float) else str(value)


def with_share(rows: Sequence[dict[str, object]], peaks: Mapping[int, float]) -> list[dict[str, object]]:
    """Adds what part of the machine's peak a row reached, and its speed over the same row on one thread."""
    alone = {_same(row): row for row in rows if row["threads"] == 1}
    out = []
    for row in rows:
        added: dict[str, object] = {}
        if "gflops" in row:
            added["share"] = float(row["gflops"]) / peaks[int(row["threads"])]  # type: ignore[arg-type, call-overload]
        if row["threads"] != 1 and (one := alone.get(_same(row))) is not None:
            added["scaling"] = float(one["ms"]) / float(row["ms"])  # type: ignore[arg-type]
        out.append({**row, **added})
    return out


def _same(row: Row) -> tuple[object, ...]:
    return tuple(row.get(key) for key in ("network", "batch", "layer", "kernel", "pattern", "density", "how"))


def layer_rows(cells: Sequence[Cell]) -> list[list[str]]:
    """One line per distinct layer: dense GFLOP/s, then for every pattern ms and ratio over best dense, with GFLOP/s."""
    rows = []
    for cell in cells:
        dense = {name: 2 * cell.batch * cell.shape.macs / cell.ms[name] / 1e6 for name in cell.rivals}
        best = next(name for name in cell.rivals if cell.ms[name] == cell.best)
        row = [cell.network.rpartition(":")[2], f"{cell.batch}", f"{cell.threads}", cell.shape.label, f"{cell.count}"]
        row += [f"{cell.ms[best]:.3f}", best, " ".join(f"{dense[name]:.0f}" for name in cell.rivals)]
        for name, ms in cell.ms.items():
            if name not in cell.rivals:
                density = float(name.rpartition(" ")[2])
                row.append(f"{cell.best / ms:.2f} ({density * 2 * cell.batch * cell.shape.macs / ms / 1e6:.0f})")
        rows.append(row)
    return rows


def layer_table(cells: Sequence[Cell]) -> str:
    """The same as text, with headings."""
    covered = [cell for cell in cells if cell.shape.covered]
    if not covered:
        return ""
    heads = [
        "network",
        "batch",
        "threads",
        "layer",
        "times",
        "best ms",
        "best",
        "GFLOP/s " + " / ".join(covered[0].rivals),
    ]
    heads += [name for name in covered[0].ms if name not in covered[0].rivals]
    return tabulate(layer_rows(covered), heads, "pipe", disable_numparse=True)
