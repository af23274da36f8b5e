"""The front of two costs: where a plan lies on both, and in colour what it loses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advisor.errors import AdvisorError
from advisor.figures.frontier import KNEE
from advisor.figures.theme import BUDGET, PLAN, base_layout
from advisor.figures.wording import axis_title, cost_text, cost_title, gap_text, percent

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from advisor.planning.frontier import Frontier
    from advisor.plans.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class MapPoint:
    """One exact plan of the front: both costs, in the order of `FrontMapInfo.keys`."""

    costs: tuple[float, float]
    loss: float
    gap: float
    knee: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontMapInfo:
    """The front of two costs; `plan` is (cost, cost, loss) of the plan beside it, `budgets` its limits on both."""

    keys: tuple[str, str]
    dense: tuple[float, float]
    points: tuple[MapPoint, ...]
    plan: tuple[float, float, float] | None = None
    budgets: tuple[float | None, float | None] = (None, None)


def frontier_map_info(front: Frontier, plan: Plan | None = None) -> FrontMapInfo:
    """The points of a front of two costs, and the plan among them where its loss was estimated the same way.

    Raises:
        AdvisorError: the front has one cost.
    """
    if len(front.keys) != 2:
        raise AdvisorError(f"a front of {front.key} alone has no map; draw it with frontier_plot")
    first, second = front.keys
    points = tuple(
        MapPoint(costs=(p.costs[first], p.costs[second]), loss=p.loss, gap=p.gap, knee=p.knee) for p in front.points
    )
    here: tuple[float, float, float] | None = None
    budgets: tuple[float | None, float | None] = (None, None)
    if plan is not None and {first, second} <= set(plan.costs) and plan.sensitivity == front.sensitivity:
        here = (plan.costs[first].plan, plan.costs[second].plan, plan.objective)
        budgets = (plan.costs[first].budget, plan.costs[second].budget)
    return FrontMapInfo(
        keys=(first, second),
        dense=(front.dense_costs[first], front.dense_costs[second]),
        points=points,
        plan=here,
        budgets=budgets,
    )


def frontier_map_plot(info: FrontMapInfo) -> go.Figure:
    """One cost against the other; colour is loss, the knee a diamond, the plan a star, budgets dashed lines."""
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.add_scatter(
        name="front",
        mode="markers",
        x=[point.costs[0] for point in info.points],
        y=[point.costs[1] for point in info.points],
        marker={
            "color": [point.loss for point in info.points],
            "colorscale": "Viridis",
            "reversescale": True,
            "size": 11,
            "colorbar": {"title": {"text": "estimated loss"}, "thickness": 12},
        },
        customdata=[_words(info, point.costs, point.loss, point.gap) for point in info.points],
        hovertemplate="%{customdata}<extra></extra>",
        showlegend=False,
    )
    knees = [point for point in info.points if point.knee]
    if knees:
        figure.add_scatter(
            name="knee",
            mode="markers",
            x=[point.costs[0] for point in knees],
            y=[point.costs[1] for point in knees],
            marker={"symbol": "diamond-open", "size": 19, "color": KNEE, "line": {"width": 3}},
            customdata=["knee: " + _words(info, point.costs, point.loss, point.gap) for point in knees],
            hovertemplate="%{customdata}<extra></extra>",
        )
    if info.plan is not None:
        x, y, loss = info.plan
        figure.add_scatter(
            name="this plan",
            mode="markers",
            x=[x],
            y=[y],
            marker={"symbol": "star", "size": 17, "color": PLAN},
            customdata=["this plan: " + _words(info, (x, y), loss, math.nan)],
            hovertemplate="%{customdata}<extra></extra>",
        )
    line = {"color": BUDGET, "dash": "dash", "width": 1.5}
    across, along = info.budgets
    if across is not None:
        figure.add_vline(x=across, line=line)
    if along is not None:
        figure.add_hline(y=along, line=line)
    titles = [
        {"text": f"{axis_title(key)}, dense {cost_text(key, dense)}"}
        for key, dense in zip(info.keys, info.dense, strict=True)
    ]
    figure.update_layout(**base_layout(height=420, xaxis={"title": titles[0]}, yaxis={"title": titles[1]}))
    return figure


def _words(info: FrontMapInfo, costs: tuple[float, float], loss: float, gap: float) -> str:
    parts = [
        f"{cost_title(key)} {cost_text(key, cost)} ({percent(cost / dense) if dense else '–'} of dense)"
        for key, cost, dense in zip(info.keys, costs, info.dense, strict=True)
    ]
    proven = f", gap {gap_text(gap)}" if math.isfinite(gap) else ""
    return "<br>".join([*parts, f"estimated loss {loss:.4g}{proven}"])
