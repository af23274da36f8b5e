"""The Pareto front: what each saving costs in estimated loss, and where the plan stands."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advisor.figures.theme import BUDGET, DENSE, PLAN, base_layout
from advisor.figures.wording import axis_title, cost_text, cost_title, percent

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from advisor.planning.frontier import Frontier
    from advisor.plans.plan import Plan

KNEE = "#e69f00"


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontPoint:
    """One exact plan of the front."""

    cost: float
    loss: float
    gap: float
    knee: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontInfo:
    """The front of one cost; `plan` is (cost, loss) of the plan beside it, where there is one with this cost.

    `at` is the place of the point that is looked at.
    """

    key: str
    dense: float
    points: tuple[FrontPoint, ...]
    plan: tuple[float, float] | None = None
    budget: float | None = None
    at: int | None = None


def frontier_info(front: Frontier, plan: Plan | None = None, at: int | None = None) -> FrontInfo:
    """The front's points, and the plan on the same axes where its loss was estimated the same way."""
    points = tuple(FrontPoint(cost=p.cost, loss=p.loss, gap=p.gap, knee=p.knee) for p in front.points)
    here: tuple[float, float] | None = None
    budget: float | None = None
    if plan is not None and front.key in plan.costs and plan.sensitivity == front.sensitivity:
        here = (plan.costs[front.key].plan, plan.objective)
        budget = plan.costs[front.key].budget
    return FrontInfo(key=front.key, dense=front.dense, points=points, plan=here, budget=budget, at=at)


def frontier_plot(info: FrontInfo) -> go.Figure:
    """Cost against loss; the knee is a diamond, the plan a star, the budget a dashed line."""
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.add_scatter(
        name="front",
        mode="lines+markers",
        x=[point.cost for point in info.points],
        y=[point.loss for point in info.points],
        line={"color": DENSE, "width": 2},
        marker={"color": DENSE, "size": 7},
        customdata=[_words(info, point.cost, point.gap) for point in info.points],
        hovertemplate="%{customdata}<br>estimated loss %{y:.4g}<extra></extra>",
    )
    knees = [point for point in info.points if point.knee]
    if knees:
        figure.add_scatter(
            name="knee",
            mode="markers",
            x=[point.cost for point in knees],
            y=[point.loss for point in knees],
            marker={"symbol": "diamond", "size": 13, "color": KNEE},
            customdata=[_words(info, point.cost, point.gap) for point in knees],
            hovertemplate="knee: %{customdata}<br>estimated loss %{y:.4g}<extra></extra>",
        )
    if info.at is not None:
        point = info.points[info.at]
        figure.add_scatter(
            name="looked at",
            mode="markers",
            x=[point.cost],
            y=[point.loss],
            marker={"symbol": "circle-open", "size": 16, "color": PLAN, "line": {"width": 2.5}},
            customdata=[_words(info, point.cost, point.gap)],
            hovertemplate="%{customdata}<br>estimated loss %{y:.4g}<extra></extra>",
        )
    if info.plan is not None:
        figure.add_scatter(
            name="this plan",
            mode="markers",
            x=[info.plan[0]],
            y=[info.plan[1]],
            marker={"symbol": "star", "size": 17, "color": PLAN},
            customdata=[_words(info, info.plan[0], math.nan)],
            hovertemplate="this plan: %{customdata}<br>estimated loss %{y:.4g}<extra></extra>",
        )
    if info.budget is not None:
        figure.add_vline(
            x=info.budget,
            line={"color": BUDGET, "dash": "dash", "width": 1.5},
            annotation={"text": "budget", "font": {"color": BUDGET}, "xshift": 4, "yanchor": "bottom"},
        )
    figure.update_layout(
        **base_layout(
            height=340,
            xaxis={"title": {"text": f"{axis_title(info.key)}, dense {cost_text(info.key, info.dense)}"}},
            yaxis={"title": {"text": "estimated loss (0 = dense)"}},
        )
    )
    return figure


def _words(info: FrontInfo, cost: float, gap: float) -> str:
    share = percent(cost / info.dense) if info.dense else "–"
    proven = f", gap {100 * gap:.3f} %" if math.isfinite(gap) else ""
    return f"{cost_title(info.key)} {cost_text(info.key, cost)} ({share} of dense){proven}"
