"""What each plan reached in training against what it costs, with confidence intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from advisor.figures.reading import number
from advisor.figures.theme import base_layout, log_axis, plan_colour
from advisor.figures.wording import axis_title, cost_text

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyPoint:
    """One plan: accuracies as shares of 1, the interval of their mean over seeds, and each seed's own."""

    label: str
    cost: float
    mean: float
    low: float
    high: float
    runs: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyInfo:
    """Plans in the order of the report. `measured` says whether the cost was measured rather than predicted."""

    key: str
    points: tuple[AccuracyPoint, ...]
    measured: bool = False


def accuracy_vs_cost_info(report: Mapping[str, Any], *, cost: str = "macs") -> AccuracyInfo:
    """The plans of a validation's report.json that know this cost; a measured cost wins over a predicted one.

    Args:
        report: with `runs[]` (plan, seed, accuracy) and `summary[]` (plan, mean, low, high, predicted{key: value},
            measured{key: value}). Plans without an accuracy or without the cost are left out; an interval that is
            missing or null (a single seed) shrinks to the mean.
        cost: key of the cost.
    """
    summary = list(report.get("summary", ()))
    measured = bool(summary) and all(number(item.get("measured"), cost) is not None for item in summary)
    points = []
    for item in summary:
        value = number(item.get("measured" if measured else "predicted"), cost)
        mean = number(item, "mean")
        if value is None or mean is None:
            continue
        low, high = number(item, "low"), number(item, "high")
        runs = [run for run in report.get("runs", ()) if run.get("plan") == item["plan"]]
        accuracies = [number(run, "accuracy") for run in runs]
        points.append(
            AccuracyPoint(
                label=str(item["plan"]),
                cost=value,
                mean=mean,
                low=mean if low is None else low,
                high=mean if high is None else high,
                runs=tuple(accuracy for accuracy in accuracies if accuracy is not None),
            )
        )
    return AccuracyInfo(key=cost, points=tuple(points), measured=measured)


def accuracy_vs_cost_plot(info: AccuracyInfo) -> go.Figure:
    """Means with their intervals, the single runs faint behind; the cost axis is logarithmic over a wide range."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for position, point in enumerate(info.points):
        colour = plan_colour(point.label, position)
        figure.add_scatter(
            name=point.label,
            legendgroup=point.label,
            showlegend=False,
            mode="markers",
            x=[point.cost] * len(point.runs),
            y=[100 * accuracy for accuracy in point.runs],
            marker={"symbol": "line-ew", "size": 11, "line": {"color": colour, "width": 2}, "opacity": 0.7},
            hovertemplate=f"{point.label}, one run: %{{y:.2f}} %<extra></extra>",
        )
        figure.add_scatter(
            name=point.label,
            legendgroup=point.label,
            mode="markers",
            x=[point.cost],
            y=[100 * point.mean],
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [100 * (point.high - point.mean)],
                "arrayminus": [100 * (point.mean - point.low)],
                "color": colour,
                "thickness": 2,
                "width": 6,
            },
            marker={"color": colour, "size": 12, "symbol": "square" if point.label == "dense" else "circle"},
            customdata=[[cost_text(info.key, point.cost), 100 * point.low, 100 * point.high]],
            hovertemplate=f"<b>{point.label}</b><br>%{{y:.2f}} % "
            "(%{customdata[1]:.2f} to %{customdata[2]:.2f})<br>%{customdata[0]}<extra></extra>",
        )
    costs = [point.cost for point in info.points if point.cost > 0]
    wide = len(costs) == len(info.points) and bool(costs) and max(costs) >= 5 * min(costs)
    axis = log_axis(info.key, min(costs) / 1.25, max(costs) * 1.25) if wide else {}
    origin = "measured" if info.measured else "predicted"
    figure.update_layout(
        **base_layout(
            height=380,
            xaxis={"title": {"text": f"{axis_title(info.key)}, {origin}"}} | axis,
            yaxis={"title": {"text": "accuracy [%]"}},
        )
    )
    return figure
