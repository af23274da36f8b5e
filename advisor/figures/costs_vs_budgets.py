"""Every cost of the plan beside the dense network's and beside its budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advisor.figures.theme import BUDGET, DENSE, OVER, PLAN, TEXT, base_layout
from advisor.figures.wording import cost_text, cost_title, percent

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from advisor.plans.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class CostBar:
    """One cost in its own unit. `low`..`high` is its interval where the cost is uncertain."""

    key: str
    dense: float
    plan: float
    budget: float | None
    low: float | None = None
    high: float | None = None

    def share(self, value: float) -> float:
        """`value` as a share of the dense network's; NaN where that is 0."""
        return value / self.dense if self.dense else math.nan

    @property
    def met(self) -> bool | None:
        """Whether the budget is met; None without one. Rounding in the last digit does not count."""
        return None if self.budget is None else self.plan <= self.budget * (1 + 1e-9)


@dataclass(frozen=True, slots=True, kw_only=True)
class CostsInfo:
    """The costs in the order of the plan, those with a budget first."""

    bars: tuple[CostBar, ...]


def costs_vs_budgets_info(plan: Plan) -> CostsInfo:
    bars = [
        CostBar(key=key, dense=line.dense, plan=line.plan, budget=line.budget, low=line.low, high=line.high)
        for key, line in plan.costs.items()
    ]
    return CostsInfo(bars=tuple(sorted(bars, key=lambda bar: bar.budget is None)))


def costs_vs_budgets_plot(info: CostsInfo) -> go.Figure:
    """Horizontal bars: dense behind at 100 %, the plan in front, a tick where the budget ends."""
    import plotly.graph_objects as go

    names = [cost_title(bar.key) for bar in info.bars]
    shares = [bar.share(bar.plan) for bar in info.bars]
    figure = go.Figure()
    figure.add_bar(
        name="dense",
        orientation="h",
        y=names,
        x=[100.0] * len(names),
        marker={"color": DENSE, "opacity": 0.28},
        width=0.62,
        customdata=[cost_text(bar.key, bar.dense) for bar in info.bars],
        hovertemplate="dense %{y}: %{customdata}<extra></extra>",
    )
    figure.add_bar(
        name="plan",
        orientation="h",
        y=names,
        x=[100 * share for share in shares],
        width=0.36,
        marker={"color": [OVER if bar.met is False else PLAN for bar in info.bars]},
        customdata=[[cost_text(bar.key, bar.plan), percent(bar.share(bar.plan))] for bar in info.bars],
        hovertemplate="plan %{y}: %{customdata[0]} (%{customdata[1]} of dense)<extra></extra>",
    )
    uncertain = [bar for bar in info.bars if bar.low is not None and bar.high is not None]
    if uncertain:
        figure.add_scatter(
            name="interval",
            mode="markers",
            y=[cost_title(bar.key) for bar in uncertain],
            x=[100 * bar.share(bar.plan) for bar in uncertain],
            error_x=_interval(uncertain),
            marker={"size": 1, "color": TEXT},
            customdata=[[cost_text(bar.key, bar.low or 0.0), cost_text(bar.key, bar.high or 0.0)] for bar in uncertain],
            hovertemplate="%{y} between %{customdata[0]} and %{customdata[1]}<extra></extra>",
            showlegend=False,
        )
    limited = [bar for bar in info.bars if bar.budget is not None]
    if limited:
        figure.add_scatter(
            name="budget",
            mode="markers",
            y=[cost_title(bar.key) for bar in limited],
            x=[100 * bar.share(bar.budget or 0.0) for bar in limited],
            marker={"symbol": "line-ns", "size": 26, "line": {"width": 3, "color": BUDGET}},
            customdata=[cost_text(bar.key, bar.budget or 0.0) for bar in limited],
            hovertemplate="budget %{y}: %{customdata}<extra></extra>",
        )
    widest = max([100.0, *(100 * bar.share(bar.budget) for bar in limited if bar.budget is not None)])
    for name, bar in zip(names, info.bars, strict=True):
        figure.add_annotation(
            x=1.0,
            xref="paper",
            y=name,
            text=f"{cost_text(bar.key, bar.plan)} of {cost_text(bar.key, bar.dense)}",
            showarrow=False,
            xanchor="left",
            xshift=8,
            font={"color": TEXT, "size": 12},
        )
    figure.update_layout(
        **base_layout(
            height=96 + 38 * len(names),
            barmode="overlay",
            margin={"r": 148},
            xaxis={"title": {"text": "share of the dense network"}, "range": [0, widest * 1.02], "ticksuffix": " %"},
            yaxis={"autorange": "reversed", "showgrid": False, "ticks": ""},
        )
    )
    return figure


def _interval(bars: Sequence[CostBar]) -> dict[str, object]:
    def reach(bar: CostBar, end: float | None) -> float:
        return 0.0 if end is None else 100 * abs(bar.share(end) - bar.share(bar.plan))

    return {
        "type": "data",
        "symmetric": False,
        "array": [reach(bar, bar.high) for bar in bars],
        "arrayminus": [reach(bar, bar.low) for bar in bars],
        "thickness": 1.6,
        "width": 5,
        "color": TEXT,
    }
