"""What came out: `report.json` for programs, and one HTML page that needs nothing beside itself for people."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.commands.options import big, finite
from advisor.devices.predicting.choice import count_methods
from advisor.files import write_bytes, write_json
from validation.exchange import Accuracies, Exchange, Verdict
from validation.statistics import CONFIDENCE, Mean, differences, mean_interval

if TYPE_CHECKING:
    from advisor.network import Network
    from advisor.runtime.methods import Method
    from validation.contestants import Contestant
    from validation.receipts import Counts, Timings

SCHEMA = "sparsity-advisor/report-1"
COSTS = ("params", "macs", "latency")


@dataclass(frozen=True, kw_only=True)
class Findings:
    """All that a report is made of.

    Attributes:
        predicted: plan → cost key → value, intervals beside it as `key_low` and `key_high`, a time's
            origin as `key_origin`.
        settings: how the runs were made; `command` repeats them.
        missing: baseline → why it is not there.
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
    difference = differences(accuracies, "dense").get(one.label)
    runs = [run for run in findings.runs if run["plan"] == one.label]
    counts = findings.counts[one.label]
    measured: dict[str, Any] = {
        "params": counts.params,
        "macs": counts.macs,
        "executed_macs": counts.executed_macs,
        "training_seconds": sum(run["seconds"] for run in runs) / len(runs),
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
        "failed": sum(1 for run in runs if run["accuracy"] is None),
        "difference_to_dense": _interval(difference),
        "predicted": dict(findings.predicted[one.label]),
        "measured": measured,
        "budgets": budgets,
        "methods": dict(counts.methods),
    }


def _interval(found: Mean | None) -> dict[str, Any] | None:
    return None if found is None else {"mean": found.mean, "low": found.low, "high": found.high}


def write(findings: Findings, out: Path) -> dict[str, Any]:
    """Writes report.json and report.html into `out`; returns the document."""
    made = document(findings)
    write_json(out / "report.json", made)
    write_bytes(out / "report.html", page(made, findings).encode())
    return made


def page(report: Mapping[str, Any], findings: Findings) -> str:
    """The HTML page: plotly's script once, every figure, no address outside the file."""
    from jinja2 import Environment, StrictUndefined
    from plotly.offline import get_plotlyjs

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "big": big,
        "percent": _percent,
        "spread": _spread,
        "milliseconds": _milliseconds,
        "ways": _ways,
    }
    text = files("validation").joinpath("report.html.jinja").read_text(encoding="utf-8")
    costs = [key for key in COSTS if any(key in item["measured"] for item in report["summary"])]
    return environment.from_string(text).render(
        report=report,
        script=get_plotlyjs(),
        costs=costs,
        accuracy=[(key, _accuracy(report, key)) for key in costs],
        receipts=[(key, _receipt(report, key)) for key in costs],
        densities=[(one.label, _densities(one, findings)) for one in findings.contestants if one.plan is not None],
        methods={item["plan"]: item["methods"] for item in report["summary"]},
        layers=[(one.label, one.plan.layers) for one in findings.contestants if one.plan is not None],
    )


def _accuracy(report: Mapping[str, Any], key: str) -> str:
    from advisor.figures.accuracy_vs_cost import accuracy_vs_cost_info, accuracy_vs_cost_plot

    return _drawn(accuracy_vs_cost_plot(accuracy_vs_cost_info(report, cost=key)), f"accuracy-{key}")


def _receipt(report: Mapping[str, Any], key: str) -> str:
    from advisor.figures.predicted_vs_measured import predicted_vs_measured_info, predicted_vs_measured_plot

    info = predicted_vs_measured_info(report, cost=key)
    return _drawn(predicted_vs_measured_plot(info), f"receipt-{key}") if info.pairs else ""


def _densities(one: Contestant, findings: Findings) -> str:
    from advisor.figures.densities import densities_info, densities_plot

    assert one.plan is not None
    return _drawn(densities_plot(densities_info(one.plan, findings.network)), f"densities-{one.label}")


def _drawn(figure: Any, name: str) -> str:
    from advisor.figures.theme import CONFIG

    text: str = figure.to_html(full_html=False, include_plotlyjs=False, config=CONFIG, div_id=name)
    return text


def _ways(methods: Mapping[str, Method]) -> str:
    """ "40 direct, 3 dense"."""
    return ", ".join(f"{count} {method}" for method, count in count_methods(methods).items()) or "—"


def _percent(value: float | None, digits: int = 1) -> str:
    return "—" if value is None else f"{100 * value:.{digits}f} %"


def _milliseconds(value: float | None) -> str:
    return "—" if value is None else f"{value:.3f} ms"


def _spread(item: Mapping[str, Any] | None) -> str:
    """ "87.7 % (86.5 to 88.9)", or the mean alone."""
    if item is None or item["mean"] is None:
        return "—"
    interval = "" if item["low"] is None else f" ({100 * item['low']:.1f} to {100 * item['high']:.1f})"
    return f"{100 * item['mean']:.1f} %{interval}"
