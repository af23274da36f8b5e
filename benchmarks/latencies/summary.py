"""The table of rows, and what it comes to."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np
from tabulate import tabulate

HEADERS = (
    "network",
    "batch",
    "",
    "measured ms",
    "predicted ms",
    "low",
    "high",
    "off by",
    "inside",
    "isolated",
    "MACs only",
)


def table_of(rows: Sequence[dict[str, Any]]) -> str:
    """One line for each row; the last two columns are how far the plain ways are off."""
    factor = _macs_factor(rows)
    lines = []
    for row in rows:
        measured = row["measured_ms"]
        inside = row["low_ms"] <= measured / row["pace"] <= row["high_ms"]
        paced = f"{row['predicted_ms'] * row['pace'] / measured - 1:+.1%}"
        alone = f"{row['isolated_ms'] / measured - 1:+.1%}" if row["isolated_ms"] else ""
        macs = f"{row['macs'] * factor / measured - 1:+.1%}" if row["macs"] else ""
        numbers = [f"{row[key]:.2f}" for key in ("measured_ms", "predicted_ms", "low_ms", "high_ms")]
        off = f"{row['predicted_ms'] / measured - 1:+.1%}"
        lines.append(
            [row["network"], row["batch"], row["kind"], *numbers, off, paced, "yes" if inside else "no", alone, macs]
        )
    return tabulate(lines, headers=HEADERS, disable_numparse=True, colalign=("left", "right", "left", *["right"] * 9))


def summary(rows: Sequence[dict[str, Any]]) -> str:
    """Median error, shares within 5 and 10 %, and coverage of the 80 % intervals, by batch size and kind."""
    factor = _macs_factor(rows)
    lines = []
    groups = [*sorted({(row["batch"], row["kind"]) for row in rows}), ("all", "all")]
    for batch, kind in groups:
        mine = [r for r in rows if (batch, kind) in ((r["batch"], r["kind"]), ("all", "all"))]
        plain = [r["predicted_ms"] / r["measured_ms"] for r in mine]
        paced = [r["predicted_ms"] * r["pace"] / r["measured_ms"] for r in mine]
        lines.append(["predicted", batch, kind, *_errors(plain), ""])
        lines.append(["predicted, at this pace", batch, kind, *_errors(paced), _inside(mine)])
        alone = [r["isolated_ms"] / r["measured_ms"] for r in mine if r["isolated_ms"]]
        macs = [r["macs"] * factor / r["measured_ms"] for r in mine if r["macs"]]
        lines += [["isolated leaves", batch, kind, *_errors(alone), ""]] if alone else []
        lines += [["MACs only", batch, kind, *_errors(macs), ""]] if macs else []
    headers = ["", "batch", "", "rows", "median off by", "within 5 %", "within 10 %", "worst", "inside"]
    return tabulate(lines, headers=headers, disable_numparse=True, colalign=("left", "right", "left", *["right"] * 6))


def _errors(ratios: Sequence[float]) -> list[str]:
    off = np.abs(np.array(ratios) - 1)
    return [
        str(len(off)),
        f"{np.median(off):.1%}",
        f"{(off <= 0.05).mean():.0%}",
        f"{(off <= 0.10).mean():.0%}",
        f"{off.max():.0%}",
    ]


def _inside(rows: Sequence[dict[str, Any]]) -> str:
    return f"{np.mean([r['low_ms'] <= r['measured_ms'] <= r['high_ms'] for r in rows]):.0%}"


def _macs_factor(rows: Sequence[dict[str, Any]]) -> float:
    found = [row["measured_ms"] / row["macs"] for row in rows if row["macs"]]
    return median(found) if found else 0.0
