"""The Pareto front of one cost against the estimated loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from advisor.devices.profile import check_profile
from advisor.errors import BudgetError, unknown
from advisor.network import check_network
from advisor.patterns.option import Option
from advisor.planning.budgets import COSTS, TIMES
from advisor.planning.build import build_table
from advisor.planning.infeasible import Least, smallest
from advisor.planning.options import DEFAULT_PATTERNS, checked_patterns, menu
from advisor.planning.solve import Solution, solve
from advisor.planning.table import CostTable

if TYPE_CHECKING:
    from advisor.devices.profile import Profile
    from advisor.network import Network

UNITS = {
    **dict.fromkeys(TIMES, "ms"),
    "params": "",
    "macs": "",
    "weight_memory": "bytes",
    "peak_memory": "bytes",
    "energy": "mJ",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontierPoint:
    """One exact plan on the front."""

    cost: float
    loss: float
    gap: float
    knee: bool
    options: Mapping[str, Option]  # layer → its choice
    costs: Mapping[str, float]  # every known cost of this plan

    @property
    def densities(self) -> dict[str, float]:
        """Layer → density."""
        return {name: option.density for name, option in self.options.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontier:
    """Points in order of falling cost; `dense` is the dense network's cost, `unit` "ms", "bytes", "mJ" or ""."""

    model: str
    key: str
    unit: str
    dense: float
    points: tuple[FrontierPoint, ...]
    sensitivity: str
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The front as a document."""
        return {
            "model": self.model,
            "cost": self.key,
            "unit": self.unit,
            "dense": self.dense,
            "sensitivity": self.sensitivity,
            "points": [
                {
                    "cost": point.cost,
                    "loss": point.loss,
                    "gap": point.gap,
                    "knee": point.knee,
                    "costs": dict(point.costs),
                    "densities": point.densities,
                    "options": {name: option.label for name, option in point.options.items()},
                }
                for point in self.points
            ],
            "notes": list(self.notes),
        }


def frontier(
    network: Network,
    *,
    profile: Profile | None = None,
    cost: str = "latency",
    points: int = 20,
    patterns: Sequence[str] | None = None,
    sensitivity: str = "erk",
    include_ends: bool = False,
    exchange: Mapping[str, float] | None = None,
    rounding: str = "ceil",
    gap: float = 1e-3,
    time_limit: float = 20.0,
) -> Frontier:
    """Trades `cost` against loss: plans at limits spread evenly from the dense cost to the least that is found.

    Args:
        network: from `advisor.analyze`.
        profile: needed where `cost` is a time.
        cost: which one to trade.
        points: at least 2; fewer come back where several limits have the same best plan.
        patterns, sensitivity, include_ends, exchange, rounding: as in `advisor.plan`.
        gap, time_limit: of each point.

    Raises:
        BudgetError: an unknown cost, fewer than two points, or a time without a profile.
    """
    check_network(network)
    check_profile(profile)
    if cost not in COSTS:
        raise BudgetError(unknown("cost", cost, COSTS))
    names = checked_patterns(patterns if patterns is not None else DEFAULT_PATTERNS)
    choices = menu(network, names, rounding=rounding, include_ends=include_ends)
    built = build_table(network, choices, profile=profile, sensitivity=sensitivity, exchange=exchange, wanted=(cost,))
    found = trace_front(built.table, cost, points, gap=gap, time_limit=time_limit)
    return Frontier(
        model=network.name,
        key=cost,
        unit=UNITS[cost],
        dense=built.table.total(cost, built.table.dense),
        points=found,
        sensitivity=sensitivity,
        notes=built.notes,
    )


def trace_front(
    table: CostTable, cost: str, points: int, *, gap: float = 1e-3, time_limit: float = 20.0
) -> tuple[FrontierPoint, ...]:
    """The front of one cost of a table, in order of falling cost, the knee marked.

    Raises:
        BudgetError: fewer than two points.
    """
    if points < 2:
        raise BudgetError(f"points={points}; expected 2 or more")
    dense = table.total(cost, table.dense)
    reached = smallest(table, cost)
    if reached is None:
        raise BudgetError(f"no plan of least {cost} was found in time; ask for fewer patterns")
    found: list[FrontierPoint] = []
    for limit in np.linspace(max(dense, reached.value), reached.value, points):
        solution = _solve_or_take(table, cost, float(limit), reached, gap, time_limit)
        point = _point(table, cost, solution)
        # Limits fall, so losses do not: what costs no less than the point before at no smaller loss is no new point.
        while found and found[-1].loss >= point.loss and found[-1].cost >= point.cost:
            found.pop()
        if not found or point.cost < found[-1].cost:
            found.append(point)
    return _with_knee(found)


def _solve_or_take(
    table: CostTable, cost: str, limit: float, reached: Least, gap: float, time_limit: float
) -> Solution:
    """The best plan within the limit; at the least reachable cost the plan in hand, if rounding hides all others."""
    try:
        return solve(table, {cost: limit}, gap=gap, time_limit=time_limit)
    except BudgetError:
        if limit > reached.value:
            raise
        objective = table.objective(reached.choice)
        gap_here = 1.0 if objective else 0.0
        return Solution(
            choice=reached.choice, objective=objective, bound=0.0, gap=gap_here, status="time limit", seconds=0
        )


def _point(table: CostTable, cost: str, solution: Solution) -> FrontierPoint:
    chosen = zip(table.layers, table.options, solution.choice, strict=True)
    costs = table.totals(solution.choice)
    return FrontierPoint(
        cost=costs[cost],
        loss=solution.objective,
        gap=solution.gap,
        knee=False,
        options={name: options[k] for name, options, k in chosen},
        costs=costs,
    )


def _with_knee(points: Sequence[FrontierPoint]) -> tuple[FrontierPoint, ...]:
    """Marks the point that lies furthest below the chord between the ends, both axes scaled to their range."""
    if len(points) < 3:
        return tuple(points)
    cost = np.array([point.cost for point in points])
    loss = np.array([point.loss for point in points])
    width, height = np.ptp(cost), np.ptp(loss)
    if not width or not height:
        return tuple(points)
    # below the chord from (dense, 0) to (least, most): 1 − x − y with x, y in [0, 1] measured from the ideal corner
    below = 1 - (cost - cost.min()) / width - (loss - loss.min()) / height
    knee = int(np.argmax(below))
    return tuple(replace(point, knee=bool(index == knee and below[knee] > 0)) for index, point in enumerate(points))
