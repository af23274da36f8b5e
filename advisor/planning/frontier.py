"""The Pareto front of one or two costs against the estimated loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.errors import BudgetError, unknown
from advisor.planning.budgets import COSTS, TIMES
from advisor.planning.constraints.asked import asked_of
from advisor.planning.constraints.restrict import Restricted, restrict
from advisor.planning.problem import Problem, pose
from advisor.planning.solving.fronts import FrontierPoint, checked_costs, trace_front

if TYPE_CHECKING:
    from advisor.devices.profile import Profile
    from advisor.network import Network
    from advisor.patterns.option import Option
    from advisor.planning.sensitivity.trained_data import Responses
    from advisor.plans.plan import Plan

__all__ = ["Frontier", "FrontierPoint", "frontier", "trace_front"]

UNITS = {
    **dict.fromkeys(TIMES, "ms"),
    "params": "",
    "macs": "",
    "weight_memory": "bytes",
    "peak_memory": "bytes",
    "energy": "mJ",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontier:
    """Points in order of falling cost; `dense` is the dense network's cost, `unit` "ms", "bytes", "mJ" or "".

    Attributes:
        key: the cost that was traded, the first of two; `keys` has both.
        dense_costs: cost → what the dense network takes, for each of `keys`.
        problem: what was asked; it writes down the plans.
    """

    model: str
    key: str
    unit: str
    dense: float
    points: tuple[FrontierPoint, ...]
    sensitivity: str
    notes: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    dense_costs: Mapping[str, float] = field(default_factory=dict)
    problem: Problem | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.keys:
            object.__setattr__(self, "keys", (self.key,))
        if not self.dense_costs:
            object.__setattr__(self, "dense_costs", {self.key: self.dense})

    def plan(self, index: int) -> Plan:
        """One point as a plan file would have it, without solving again.

        Raises:
            BudgetError: there is no such point, or the front was not traced here.
        """
        if not -len(self.points) <= index < len(self.points):
            raise BudgetError(f"point {index} of a front with {len(self.points)} points; expected 0 or more")
        point = self.points[index]
        if self.problem is None or point.solution is None:
            raise BudgetError(f"point {index}: this front holds costs alone, no plans; trace it with advisor.frontier")
        return self.problem.written(point.solution, point.limits)

    def within(self, limits: Mapping[str, float]) -> int | None:
        """The index of the least losing point within limits on any known costs; None where no point is.

        Raises:
            BudgetError: a cost that the points do not have.
        """
        for key in limits:
            if self.points and key not in self.points[0].costs:
                raise BudgetError(unknown("cost of this front", key, self.points[0].costs))
        fitting = [
            index
            for index, point in enumerate(self.points)
            if all(point.costs[key] <= limit for key, limit in limits.items())
        ]
        return min(fitting, key=lambda index: self.points[index].loss, default=None)

    def to_json(self) -> dict[str, Any]:
        """The front as a document."""
        return {
            "model": self.model,
            "cost": self.key,
            "unit": self.unit,
            "dense": self.dense,
            "costs": list(self.keys),
            "dense_costs": dict(self.dense_costs),
            "sensitivity": self.sensitivity,
            "points": [_document(point) for point in self.points],
            "notes": list(self.notes),
        }


def _document(point: FrontierPoint) -> dict[str, Any]:
    return {
        "cost": point.cost,
        "loss": point.loss,
        "gap": point.gap,
        "knee": point.knee,
        "costs": dict(point.costs),
        "limits": dict(point.limits),
        "prices": dict(point.solution.prices) if point.solution is not None else {},
        "densities": point.densities,
        "options": {name: option.label for name, option in point.options.items()},
    }


def frontier(
    network: Network,
    *,
    profile: Profile | None = None,
    cost: str | Sequence[str] = "latency",
    points: int = 20,
    patterns: Sequence[str] | None = None,
    sensitivity: str | None = None,
    selection: str = "random",
    include_ends: bool = False,
    exchange: Mapping[str, float] | None = None,
    rounding: str = "ceil",
    seed: int = 0,
    gap: float = 1e-3,
    time_limit: float = 20.0,
    pins: Mapping[str, str | float | Option] | None = None,
    allowed: Mapping[str, Sequence[str]] | None = None,
    forbidden: Mapping[str, Sequence[str]] | None = None,
    min_density: float | Mapping[str, float] | None = None,
    max_density: float | Mapping[str, float] | None = None,
    max_patterns: int | None = None,
    data: Any = None,
    responses: str | Path | Responses | None = None,
) -> Frontier:
    """Trades one or two costs against loss: plans at limits spread evenly from the dense cost to the least reachable.

    Args:
        network: from `advisor.analyze`.
        profile: needed where a cost is a time.
        cost: which one to trade, or two: then about as many limits on the first as on the second.
        points: at least 2; fewer come back where there are no more.
        patterns, sensitivity, selection, include_ends, exchange, rounding, seed, data, responses: as in `advisor.plan`.
        pins, allowed, forbidden, min_density, max_density, max_patterns: as there; every point keeps to them. Where
            layers have to be thinned out, the front begins at the least losing plan instead of the dense network.
        gap, time_limit: of each point.

    Raises:
        BudgetError: an unknown cost, more than two, fewer than two points, or a time without a profile.
        PlanError: constraints that name no layer, or leave one no option.
    """
    asked = asked_of(pins=pins, allowed=allowed, forbidden=forbidden, min_density=min_density, max_density=max_density)
    keys = checked_costs(cost)
    for key in keys:
        if key not in COSTS:
            raise BudgetError(unknown("cost", key, COSTS))
    problem = pose(
        network,
        budgets=dict.fromkeys(keys, "100%"),
        profile=profile,
        patterns=patterns,
        sensitivity=sensitivity,
        selection=selection,
        rounding=rounding,
        seed=seed,
        include_ends=include_ends,
        exchange=exchange,
        gap=gap,
        time_limit=time_limit,
        constraints=asked,
        max_patterns=max_patterns,
        data=data,
        responses=responses,
    )
    table = problem.built.table
    dense = {key: table.total(key, table.dense) for key in keys}
    left = restrict(table, asked) if asked.rules else None
    found = trace_front(
        left.table if left else table,
        keys,
        points,
        gap=gap,
        time_limit=time_limit,
        max_patterns=max_patterns,
        most=dense,
    )
    notes = (*problem.built.notes, *(left.notes if left else ()), *_few(len(found), points))
    return Frontier(
        model=network.name,
        key=keys[0],
        unit=UNITS[keys[0]],
        dense=dense[keys[0]],
        points=tuple(_of_whole(point, left) for point in found) if left else found,
        sensitivity=problem.style.sensitivity,
        notes=notes,
        keys=keys,
        dense_costs=dense,
        problem=problem,
    )


def _of_whole(point: FrontierPoint, left: Restricted) -> FrontierPoint:
    """A point of the table with the constraints as one of the whole table, in which plans are written down."""
    if point.solution is None:
        return point
    return replace(point, solution=replace(point.solution, choice=left.in_whole(point.solution.choice)))


def _few(found: int, points: int) -> tuple[str, ...]:
    """Why there are fewer points than were asked for."""
    if found >= points:
        return ()
    return (
        f"{found} of {points} points: every limit tried between them gives one of these plans again, or one that loses "
        "more at no less cost; more densities or patterns give more",
    )
