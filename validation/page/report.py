"""A validation that runs or has run, read from the files that it keeps in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advisor.errors import AdvisorError
from advisor.figures.reading import number
from advisor.figures.wording import cost_text, cost_title, percent
from advisor.files import read_json
from advisor.planning.budgets import COSTS

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """How far a validation is. `report` is None until it is written; `costs` are those that all its plans know."""

    share: float
    text: str
    finished: tuple[Row, ...]
    report: Mapping[str, Any] | None
    costs: tuple[str, ...]
    rows: tuple[Row, ...]  # of the summary, for people


def watch(folder: Path) -> Watch:
    """Reads progress.json and report.json; what is missing or unreadable is not there yet."""
    progress, report = _read(folder / "progress.json"), _read(folder / "report.json")
    done, total = number(progress, "done") or 0.0, number(progress, "total") or 0.0
    left = number(progress, "seconds_left")
    text = ""
    if progress is not None:
        text = _at_work(progress)
        text += f", {left:.0f} s left" if left is not None else ""
    summary = [item for item in (report or {}).get("summary", ()) if isinstance(item, Mapping)]
    return Watch(
        share=min(done / total, 1.0) if total else 0.0,
        text=text,
        finished=tuple(dict(item) for item in (progress or {}).get("finished", ()) if isinstance(item, Mapping)),
        report=report,
        costs=tuple(key for key in COSTS if _everywhere(summary, key)),
        rows=tuple(_row(item) for item in summary),
    )


def _at_work(progress: Mapping[str, Any]) -> str:
    """The runs that train now: one with its epoch, several in short."""
    running = [item for item in progress.get("running", ()) if isinstance(item, Mapping)]
    if len(running) > 1:
        return ", ".join(f"{one.get('run', '')} {one.get('epoch', 0)}/{one.get('epochs', 0)}" for one in running[:8])
    return f"{progress.get('run', '')} epoch {progress.get('epoch', 0)} of {progress.get('epochs', 0)}"


def report_html(folder: Path) -> bytes | None:
    """The self-contained report; None while there is none."""
    path = folder / "report.html"
    return path.read_bytes() if path.is_file() else None


def _read(path: Path) -> Mapping[str, Any] | None:
    try:
        document = read_json(path)
    except AdvisorError:
        return None
    return document if isinstance(document, Mapping) else None


def _everywhere(summary: list[Mapping[str, Any]], key: str) -> bool:
    return bool(summary) and all(
        number(item.get("predicted"), key) is not None or number(item.get("measured"), key) is not None
        for item in summary
    )


def _row(item: Mapping[str, Any]) -> Row:
    mean, low, high = number(item, "mean"), number(item, "low"), number(item, "high")
    missing = "stopped early" if item.get("stopped") else "–"
    row: Row = {"plan": item.get("plan"), "accuracy": percent(mean) if mean is not None else missing}
    row["interval"] = f"{percent(low)} to {percent(high)}" if low is not None and high is not None else "–"
    p = number(item.get("difference_to_dense"), "p_holm")
    row["p beside dense"] = f"{p:.3f}" if p is not None else "–"
    step = number(item.get("measured"), "training_step_ms")
    if step is not None:
        row["training step"] = cost_text("training_latency", step)
    for key in COSTS:
        for kind in ("predicted", "measured"):
            value = number(item.get(kind), key)
            if value is not None:
                row[f"{cost_title(key)}, {kind}"] = cost_text(key, value)
    return row
