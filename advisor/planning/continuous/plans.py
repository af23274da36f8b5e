"""Plans off the grid, of networks and of tables, with what leaving it gained in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from advisor.planning.constraints.asked import Asked
from advisor.planning.constraints.restrict import restrict
from advisor.planning.continuous.leave import Left, leave_grid
from advisor.planning.continuous.offers import FINER, QUICKER, OfNetwork, OfTable
from advisor.planning.table import CostTable
from advisor.planning.table_plan import written

if TYPE_CHECKING:
    from advisor.planning.problem import Problem
    from advisor.plans.plan import Plan


def off_grid(problem: Problem) -> Plan:
    """The plan of a network whose densities need not lie on the grid.

    Raises:
        BudgetError: as `advisor.plan`.
    """
    limits = problem.limits
    offer = OfNetwork(problem=problem)
    left = _proven(leave_grid(offer, offer.solve(limits, None), limits), problem.gap)
    last = left.offer
    assert isinstance(last, OfNetwork)
    notes = [*_said(left)]
    if offer.interpolates and left.relaxation.gain:
        notes.append(
            f"losses off the grid lie between those of the grid, as {problem.style.sensitivity} would have to run for "
            "each density"
        )
    plan = last.problem.written(left.found, limits)
    return replace(plan, continuous=left.relaxation, notes=(*plan.notes, *notes))


def table_off_grid(
    table: CostTable,
    asked: Asked,
    limits: Mapping[str, float],
    *,
    gap: float,
    time_limit: float,
    max_patterns: int | None = None,
) -> Plan:
    """The plan of a table whose densities need not be the table's.

    Raises:
        BudgetError: as `advisor.plan`.
    """
    offer = OfTable(
        table=table,
        whole=table,
        asked=asked,
        options={"gap": FINER * gap, "time_limit": QUICKER * time_limit, "max_patterns": max_patterns},
    )
    left = _proven(leave_grid(offer, offer.solve(limits, None), limits), gap)
    notes = [*(restrict(table, asked).notes if asked.rules else ()), *_said(left)]
    if left.relaxation.gain:
        notes.append("costs and losses between the table's densities are interpolated: measure the plan")
    return replace(written(left.offer.table, left.found, limits, notes=notes), continuous=left.relaxation)


def _proven(left: Left, gap: float) -> Left:
    """With the status for the gap that was asked for, which is wider than that of the rounds."""
    found = left.found
    if found.status == "optimal" or found.gap > gap:
        return left
    return replace(left, found=replace(found, status="optimal"))


def _said(left: Left) -> tuple[str, ...]:
    """What leaving the grid gained, and which layers could not."""
    found = left.relaxation
    if found.gain:
        first = (
            f"densities off the grid lower the loss by {100 * found.gain:.2f} % ({found.objective_grid:.6g} to "
            f"{found.objective:.6g}); bound and gap hold over the grid and the densities tried"
        )
    else:
        first = "no density off the grid lowers the loss: this is the grid's plan"
    if not left.fixed:
        return (first,)
    return (first, f"{left.fixed} layers stay on the grid, as width and n:m have no densities of their own")
