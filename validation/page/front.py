"""The Pareto front on the page, with a slider that answers from it at once."""

from __future__ import annotations

import math
from typing import Any

import streamlit as st

from advisor import figures
from advisor.figures.wording import cost_text, cost_title, percent
from advisor.network import Network
from advisor.planning.budgets import COSTS
from advisor.planning.frontier import Frontier
from advisor.plans.plan import Plan
from validation.page import work
from validation.page.choices import Choices, cost_needs
from validation.page.common import desk, draw, tiles, wait
from validation.page.offer import Offer
from validation.page.tables import plan_file


def front(network: Network, plan: Plan | None, choices: Choices, offer: Offer) -> None:
    """What each saving costs, with the plan on it."""
    profile = offer.profile(choices.profile)
    costs = [key for key in COSTS if not cost_needs(key, profile)]
    first = next((key for key in costs if key in choices.budgets), costs[0])
    left, _ = st.columns([1, 3])
    cost = left.selectbox("Cost", costs, index=costs.index(first), format_func=cost_title, key="front cost")
    if not choices.patterns:
        st.caption("Allow at least one pattern.")
        return
    job = work.front_job(desk(), choices, network, offer, cost)
    if job.state in ("waiting", "running"):
        wait(job, "Tracing the front, one exact plan after the other")
    elif job.state == "failed":
        st.error(job.error)
    else:
        _along(job.result, plan)
        for note in job.result.notes:
            st.caption(note)


@st.fragment
def _along(traced: Frontier, plan: Plan | None) -> None:
    """The figure, and the plan of the point that the slider stands at."""
    points = traced.points
    start = _nearest(traced, plan)
    place = start
    if len(points) > 1:
        place = st.select_slider(
            "Plan on the front",
            range(len(points)),
            start,
            format_func=lambda k: f"{percent(points[k].cost / traced.dense)}{' (knee)' if points[k].knee else ''}",
            key=f"point of {traced.key} {id(traced)}",
        )
    point = points[place]
    keys = [key for key in COSTS if key in point.costs]
    costs = [(cost_title(k), cost_text(k, point.costs[k]), None, _share(traced, k, point.costs[k])) for k in keys]
    tiles([("Estimated loss", f"{point.loss:.4g}", None, f"gap {100 * point.gap:.3f} %"), *costs], "on-front")
    draw(figures.frontier_plot(figures.frontier_info(traced, plan, place)), "front")
    take, download, _ = st.columns([1, 1, 2])
    if take.button("Take as budget", width="stretch", help="Writes this cost into the left column; then press Plan."):
        st.session_state["budget taken"] = (traced.key, _budget_text(point.cost / traced.dense))
        st.rerun()
    name, content, kind = _file(traced, place)
    download.download_button("Download this plan", content, name, kind, width="stretch")


def _file(traced: Frontier, place: int) -> tuple[str, Any, str]:
    """Name, content and type of the point's plan; it is drawn when somebody asks for it."""
    name = f"{'-'.join(part for part in traced.model.replace(':', '-').split('/') if part)}-{traced.key}-{place}.json"
    return name, lambda: plan_file(traced.plan(place))[1], "application/json"


def _share(traced: Frontier, key: str, value: float) -> str:
    table = traced.problem.built.table if traced.problem is not None else None
    dense = table.total(key, table.dense) if table is not None else 0.0
    return f"{percent(value / dense)} of dense" if dense else ""


def _nearest(traced: Frontier, plan: Plan | None) -> int:
    """The point next to the plan, else the knee, else the middle."""
    points = traced.points
    if plan is not None and traced.key in plan.costs:
        here = plan.costs[traced.key].plan
        return min(range(len(points)), key=lambda k: abs(points[k].cost - here))
    return next((k for k, point in enumerate(points) if point.knee), len(points) // 2)


def _budget_text(share: float) -> str:
    """A share of dense that this point meets: rounded up."""
    return f"{min(math.ceil(share * 1e4 - 1e-9) / 100, 100.0):g}%"
