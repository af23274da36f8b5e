"""The sweep of learning rates that chose the peak rate of a validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from advisor.figures.reading import number
from advisor.figures.theme import BUDGET, PLAN, base_layout

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True, slots=True, kw_only=True)
class RateRangeInfo:
    """Rates of the sweep, rising, the running mean of the training loss [nats] beside each, and the rate chosen."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    peak: float


def rate_range_info(report: Mapping[str, Any]) -> RateRangeInfo | None:
    """The sweep in a validation's report.json (`rates`: rates[], losses[], peak); None where there was none."""
    held = report.get("rates")
    peak = number(held, "peak")
    if not isinstance(held, Mapping) or peak is None:
        return None
    pairs = list(zip(held.get("rates", ()), held.get("losses", ()), strict=False))
    return RateRangeInfo(rates=tuple(rate for rate, _ in pairs), losses=tuple(loss for _, loss in pairs), peak=peak)


def rate_range_plot(info: RateRangeInfo) -> go.Figure:
    """Loss against the rate, and where the rate was taken."""
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.add_scatter(
        name="dense network",
        mode="lines",
        x=list(info.rates),
        y=list(info.losses),
        line={"color": PLAN, "width": 2},
        hovertemplate="rate %{x:.2g}: loss %{y:.3f}<extra></extra>",
    )
    figure.add_vline(x=info.peak, line={"color": BUDGET, "dash": "dot"}, annotation_text=f"peak rate {info.peak:.2g}")
    figure.update_layout(
        **base_layout(
            height=380,
            xaxis={"type": "log", "title": {"text": "learning rate"}, "exponentformat": "power"},
            yaxis={"title": {"text": "training loss [nats]"}},
        )
    )
    return figure
