"""Rows in a file of JSON lines, so that a run goes on where another one ended."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def read_rows(path: Path) -> list[dict[str, Any]]:
    """What a file holds, nothing where there is none; a last line that was cut off by a kill is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = []
    for number, line in enumerate(lines):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            if number < len(lines) - 1:
                raise SystemExit(f"{path}, line {number + 1}: no row of this benchmark; give another --out") from None
    return rows


def append_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """All rows of one network together, on lines of their own."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if text and not text.endswith("\n"):
        text = text[: text.rfind("\n") + 1]
        path.write_text(text, encoding="utf-8")
    with path.open("a", encoding="utf-8") as stream:
        stream.write("".join(json.dumps(row) + "\n" for row in rows))


def setting_of(row: dict[str, Any]) -> tuple[int, int, bool]:
    """Batch size, threads, and whether it is a training step."""
    return row["batch"], row.get("threads", 1), row.get("training", False)
