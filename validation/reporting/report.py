"""What came out: `report.json` for programs, and one HTML page that needs nothing beside itself for people."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from advisor.commands.options import finite
from advisor.files import write_bytes, write_json
from validation.reporting.exchange import Accuracies, Exchange, Verdict
from validation.reporting.report_html import page
from validation.reporting.statistics import CONFIDENCE, Difference, differences, mean_interval

if TYPE_CHECKING:
    from advisor.network import Network
    from validation.contestants import Contestant
    from validation.reporting.receipts import Counts, Timings
    from validation.training.rates import RateRange

SCHEMA = "sparsity-advisor/report-1"


@dataclass(frozen=True, kw_only=True)
class Findings:
    """All that a report is made of.

    Attributes:
        predicted: plan → cost key → value, intervals beside it as `key_low` and `key_high`, a time's
            origin as `key_origin`.
        settings: how the runs were made; `command` repeats them.
        missing: baseline → why it is not there.
        rate: the sweep that chose the learning rate, where one did.
    """

    model: str
    network: Network
    contestants: tuple[Contestant, ...]
    runs: Sequence[Mapping[str, Any]]
    counts: Mapping[str, Counts]
    timings: Timings | None
    predicted: Mapping[str, Mapping[str, Any]]
    exchange: Exchange
    verdict: Verdict | None
    settings: Mapping[str, Any]
    command: str
    missing: Mapping[str, str]
    notes: tuple[str, ...]
    rate: RateRange | None = None


def accuracies_of(runs: Sequence[Mapping[str, Any]]) -> Accuracies:
    """Plan → seed → accuracy of the runs that finished."""
    found: dict[str, dict[int, float]] = {}
    for run in runs:
        values = found.setdefault(str(run["plan"]), {})
        if run["accuracy"] is not None:
            values[int(run["seed"])] = float(run["accuracy"])
    return found


def document(findings: Findings) -> dict[str, Any]:
    """The contents of report.json."""
    accuracies = accuracies_of(findings.runs)
    document = {
        "schema": SCHEMA,
        "model": findings.model,
        "input": [list(shape) for shape in findings.network.input_shapes],
        "verdict": asdict(findings.verdict) if findings.verdict else None,
        "runs": [dict(run) for run in findings.runs],
        "rates": findings.rate.to_json() if findings.rate else None,
        "summary": [_summary(one, findings, accuracies) for one in findings.contestants],
        **findings.exchange.to_json(),
        "missing": dict(findings.missing),
        "notes": [*findings.notes, *findings.exchange.notes],
        "settings": dict(findings.settings),
        "command": findings.command,
        "made": {
            "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "machine": platform.machine(),
            "python": platform.python_version(),
            "torch": version("torch"),
            "numpy": version("numpy"),
            "sparsity-advisor": version("sparsity-advisor"),
        },
    }
    checked: dict[str, Any] = finite(document)
    return checked


def _summary(one: Contestant, findings: Findings, accuracies: Accuracies) -> dict[str, Any]:
    values = accuracies[one.label]
    reached = mean_interval(list(values.values()), bounds=(0.0, 1.0)) if values else None
    runs = [run for run in findings.runs if run["plan"] == one.label]
    whole = [run for run in runs if not run.get("stopped")] or runs
    counts = findings.counts[one.label]
    measured: dict[str, Any] = {
        "params": counts.params,
        "macs": counts.macs,
        "executed_macs": counts.executed_macs,
        "training_seconds": sum(run["seconds"] for run in whole) / len(whole),
        "training_step_ms": _median([run.get("step_ms") for run in runs]),
        "training_peak_bytes": max((run["peak_bytes"] for run in runs if run.get("peak_bytes")), default=None),
    }
    if findings.timings is not None:
        timing = findings.timings.by_plan[one.label]
        measured |= {
            "latency": timing.latency_ms,
            "latency_low": timing.low_ms,
            "latency_high": timing.high_ms,
            "latency_ratio": timing.ratio,
            "latency_ratio_low": timing.ratio_low,
            "latency_ratio_high": timing.ratio_high,
            "latency_repeats": timing.repeats,
        }
    budgets = {} if one.plan is None else {k: c.budget for k, c in one.plan.costs.items() if c.budget is not None}
    return {
        "plan": one.label,
        "way": one.way,
        "mean": reached.mean if reached else None,
        "low": reached.low if reached else None,
        "high": reached.high if reached else None,
        "confidence_interval": None if reached is None or reached.low is None else [reached.low, reached.high],
        "confidence": CONFIDENCE,
        "seeds": len(values),
        "failed": sum(1 for run in runs if run["problem"]),
        "stopped": next((run["stopped"] for run in runs if run.get("stopped")), ""),
        "difference_to_dense": _difference(differences(accuracies, "dense").get(one.label)),
        "difference_to_plan": _difference(differences(accuracies, "plan").get(one.label)),
        "predicted": dict(findings.predicted[one.label]),
        "measured": measured,
        "budgets": budgets,
        "methods": dict(counts.methods),
    }


def _difference(found: Difference | None) -> dict[str, Any] | None:
    """Mean difference of accuracies, its interval, and the paired test's p, alone and after Holm's correction."""
    return None if found is None else asdict(found)


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def write(findings: Findings, out: Path) -> dict[str, Any]:
    """Writes report.json and report.html into `out`; returns the document."""
    made = document(findings)
    write_json(out / "report.json", made)
    write_bytes(out / "report.html", page(made, findings).encode())
    return made
