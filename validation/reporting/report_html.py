"""A report as one HTML page that needs nothing beside itself."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from advisor.commands.options import big
from advisor.devices.predicting.choice import count_methods
from advisor.figures.wording import cost_text

if TYPE_CHECKING:
    from advisor.runtime.methods import Method
    from validation.contestants import Contestant
    from validation.reporting.report import Findings

COSTS = ("params", "macs", "latency")


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
        "p": _p,
        "bytes": _bytes,
    }
    text = files("validation.reporting").joinpath("report.html.jinja").read_text(encoding="utf-8")
    costs = [key for key in COSTS if any(key in item["measured"] for item in report["summary"])]
    return environment.from_string(text).render(
        report=report,
        script=get_plotlyjs(),
        costs=costs,
        curves=[(key, _curves(report, key)) for key in ("test_accuracy", "loss")],
        rates=_rates(report),
        tested=sum(epoch.get("test_seconds", 0.0) for run in report["runs"] for epoch in run["epochs"]),
        trained=sum(run["seconds"] for run in report["runs"]),
        accuracy=[(key, _accuracy(report, key)) for key in costs],
        receipts=[(key, _receipt(report, key)) for key in costs],
        densities=[(one.label, _densities(one, findings)) for one in findings.contestants if one.plan is not None],
        methods={item["plan"]: item["methods"] for item in report["summary"]},
        layers=[(one.label, one.plan.layers) for one in findings.contestants if one.plan is not None],
    )


def _accuracy(report: Mapping[str, Any], key: str) -> str:
    from advisor.figures.accuracy_vs_cost import accuracy_vs_cost_info, accuracy_vs_cost_plot

    return _drawn(accuracy_vs_cost_plot(accuracy_vs_cost_info(report, cost=key)), f"accuracy-{key}")


def _curves(report: Mapping[str, Any], key: str) -> str:
    from advisor.figures.learning_curves import learning_curves_info, learning_curves_plot

    info = learning_curves_info(report, key=key)
    return _drawn(learning_curves_plot(info), f"curves-{key}") if info.curves else ""


def _rates(report: Mapping[str, Any]) -> str:
    from advisor.figures.rate_range import rate_range_info, rate_range_plot

    info = rate_range_info(report)
    return _drawn(rate_range_plot(info), "rates") if info is not None else ""


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


def _p(item: Mapping[str, Any] | None) -> str:
    """The p value after Holm's correction: "0.012", "< 0.001"."""
    value = None if item is None else item.get("p_holm")
    return "—" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _bytes(value: float | None) -> str:
    return "—" if value is None else cost_text("peak_memory", value)
