"""The receipt: what was promised beside what came out, one cost after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from advisor.figures.reading import number
from advisor.figures.theme import DENSE, LINE, TEXT, base_layout, log_axis, plan_colour
from advisor.figures.wording import axis_title, cost_text, percent

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedPair:
    """One plan's cost as predicted and as measured, each with its interval where there is one."""

    label: str
    predicted: float
    measured: float
    predicted_low: float | None = None
    predicted_high: float | None = None
    measured_low: float | None = None
    measured_high: float | None = None

    @property
    def error(self) -> float:
        """(predicted − measured) / measured."""
        return (self.predicted - self.measured) / self.measured if self.measured else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedInfo:
    """Plans in the order of the report, for one cost."""

    key: str
    pairs: tuple[PredictedPair, ...]


def predicted_vs_measured_info(report: Mapping[str, Any], *, cost: str = "latency") -> PredictedInfo:
    """The plans of a validation's report.json that know this cost both ways.

    Args:
        report: with `summary[]`: plan, predicted{key: value}, measured{key: value}; intervals stand beside the values
            as `key_low` and `key_high`.
        cost: key of the cost.
    """
    pairs = []
    for item in report.get("summary", ()):
        told, seen = item.get("predicted"), item.get("measured")
        predicted, measured = number(told, cost), number(seen, cost)
        if predicted is None or measured is None:
            continue
        pairs.append(
            PredictedPair(
                label=str(item["plan"]),
                predicted=predicted,
                measured=measured,
                predicted_low=number(told, f"{cost}_low"),
                predicted_high=number(told, f"{cost}_high"),
                measured_low=number(seen, f"{cost}_low"),
                measured_high=number(seen, f"{cost}_high"),
            )
        )
    return PredictedInfo(key=cost, pairs=tuple(pairs))


def predicted_vs_measured_plot(info: PredictedInfo) -> go.Figure:
    """Predicted against measured; on the diagonal the promise was kept."""
    import plotly.graph_objects as go

    figure = go.Figure()
    ends = [
        value
        for pair in info.pairs
        for value in (
            *(pair.predicted, pair.predicted_low, pair.predicted_high),
            *(pair.measured, pair.measured_low, pair.measured_high),
        )
        if value is not None
    ]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    wide = low > 0 and high >= 5 * low
    reach = [low / 1.2, high * 1.2] if wide else [0.0, 1.08 * high]
    axis = log_axis(info.key, *reach) if wide else {"range": reach}
    figure.add_scatter(
        x=reach, y=reach, mode="lines", name="as promised", line={"color": LINE, "dash": "dot"}, hoverinfo="skip"
    )
    for position, pair in enumerate(info.pairs):
        colour = plan_colour(pair.label, position)
        figure.add_scatter(
            name=pair.label,
            mode="markers",
            x=[pair.predicted],
            y=[pair.measured],
            error_x=_interval(pair.predicted, pair.predicted_low, pair.predicted_high, colour),
            error_y=_interval(pair.measured, pair.measured_low, pair.measured_high, colour),
            marker={"color": colour, "size": 12, "symbol": "square" if pair.label == "dense" else "circle"},
            customdata=[
                [cost_text(info.key, pair.predicted), cost_text(info.key, pair.measured), percent(abs(pair.error))]
            ],
            hovertemplate=f"<b>{pair.label}</b><br>predicted %{{customdata[0]}}<br>measured %{{customdata[1]}}<br>"
            f"{'over' if pair.error > 0 else 'under'} by %{{customdata[2]}}<extra></extra>",
        )
    figure.update_layout(
        **base_layout(
            height=380,
            xaxis={"title": {"text": f"predicted {axis_title(info.key).lower()}"}} | axis,
            yaxis={"title": {"text": f"measured {axis_title(info.key).lower()}"}} | axis,
        )
    )
    if not info.pairs:
        figure.add_annotation(
            text="nothing was measured", showarrow=False, x=0.5, y=0.5, xref="paper", yref="paper", font={"color": TEXT}
        )
    return figure


def _interval(value: float, low: float | None, high: float | None, colour: str) -> dict[str, object]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [0.0 if high is None else max(high - value, 0.0)],
        "arrayminus": [0.0 if low is None else max(value - low, 0.0)],
        "visible": low is not None or high is not None,
        "color": colour or DENSE,
        "thickness": 1.6,
        "width": 4,
    }
