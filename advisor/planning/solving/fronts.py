"""Exact fronts of a cost table: least losses at falling limits on one cost, or on two at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from advisor.errors import BudgetError, unknown
from advisor.patterns.option import Option
from advisor.planning.solving.feasible import keeps
from advisor.planning.solving.infeasible import Least, smallest
from advisor.planning.solving.program import Program, build_program
from advisor.planning.solving.solve import Solution, check_max_patterns, solve
from advisor.planning.table import Choice, CostTable


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontierPoint:
    """One exact plan on the front.

    Attributes:
        cost: of the front's first cost; `costs` has every known cost of this plan.
        limits: what it is the best plan within, to `gap`; `solution` says how it was found.
    """

    cost: float
    loss: float
    gap: float
    knee: bool
    options: Mapping[str, Option]  # layer → its choice
    costs: Mapping[str, float]
    limits: Mapping[str, float] = field(default_factory=dict)
    solution: Solution | None = field(default=None, repr=False, compare=False)

    @property
    def densities(self) -> dict[str, float]:
        """Layer → density."""
        return {name: option.density for name, option in self.options.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tracer:
    """One table, its program built once for all points, and what was found so far.

    `most` is where the limits on each cost begin.
    """

    table: CostTable
    program: Program
    gap: float
    time_limit: float
    max_patterns: int | None
    most: Mapping[str, float]
    found: list[tuple[dict[str, float], Solution]] = field(default_factory=list)

    def best(self, limits: Mapping[str, float], fallback: Choice | None = None) -> Solution:
        """The best plan within the limits. Plans found within tighter limits are where it starts.

        A plan found under looser limits that keeps these, too, is the answer, without solving again.

        Args:
            fallback: a plan to take where rounding hides all that keep the limits.
        """
        for wider, solution in self.found:
            if all(wider[key] >= limit for key, limit in limits.items()) and self._keeps(solution.choice, limits):
                return solution
        known = [solution for _, solution in self.found if self._keeps(solution.choice, limits)]
        start = min(known, key=lambda solution: solution.objective).choice if known else fallback
        try:
            solution = solve(
                self.table,
                limits,
                gap=self.gap,
                time_limit=self.time_limit,
                max_patterns=self.max_patterns,
                known=start,
                program=self.program,
            )
        except BudgetError:
            if fallback is None:
                raise
            solution = _unproven(self.table, fallback, limits)
        self.found.append((dict(limits), solution))
        return solution

    def least(self, key: str, limits: Mapping[str, float] | None = None) -> Least:
        """The smallest reachable value of a cost within limits on others."""
        reached = smallest(self.table, key, limits, max_patterns=self.max_patterns)
        if reached is None:
            raise BudgetError(f"no plan of least {key} was found in time; ask for fewer patterns")
        return reached

    def _keeps(self, choice: Choice, limits: Mapping[str, float]) -> bool:
        return keeps(self.table, choice, limits, self.max_patterns)


def trace_front(
    table: CostTable,
    cost: str | Sequence[str],
    points: int,
    *,
    gap: float = 1e-3,
    time_limit: float = 20.0,
    max_patterns: int | None = None,
    most: Mapping[str, float] | None = None,
) -> tuple[FrontierPoint, ...]:
    """The front of one or two costs of a table, in order of falling cost, the knee marked.

    With one cost the limits fall evenly from the dense cost to the least reachable one. With two, about as many limits
    on the first as on the second: at each limit on the first cost, those on the second run over the range in which it
    binds. Points above another one in every cost and in loss are left out; for each that is missing then, a limit more
    lies in the middle of the widest gap.

    Args:
        table: the costs.
        cost: one of its costs, or two.
        points: as many at most; fewer where no gap between two points holds another one.
        gap, time_limit: of each point.
        max_patterns: as in `solve`.
        most: cost → where its limits begin; the dense cost where None. For tables that have lost dense options.

    Raises:
        BudgetError: fewer than two points, no such cost, one given twice, or more than two.
    """
    keys = checked_costs(cost)
    for key in keys:
        if key not in table.keys:
            raise BudgetError(unknown("cost of this table", key, table.keys))
    if points < 2:
        raise BudgetError(f"points={points}; expected 2 or more")
    check_max_patterns(max_patterns)
    tracer = _Tracer(
        table=table,
        program=build_program(table, keys, max_patterns=max_patterns),
        gap=gap,
        time_limit=time_limit,
        max_patterns=max_patterns,
        most=most or {key: table.total(key, table.dense) for key in keys},
    )
    solved = list(_one(tracer, keys[0], points) if len(keys) == 1 else _two(tracer, keys, points))
    return with_knee(_filled(tracer, keys, [_point(table, keys, *pair) for pair in solved], points), keys)


def checked_costs(cost: str | Sequence[str]) -> tuple[str, ...]:
    """One or two different names."""
    keys = (cost,) if isinstance(cost, str) else tuple(cost)
    if not 1 <= len(keys) <= 2 or len(set(keys)) < len(keys):
        raise BudgetError(f"costs {', '.join(map(str, keys)) or '(none)'}; a front has one cost or two different ones")
    return keys


def _one(tracer: _Tracer, key: str, points: int) -> Iterator[tuple[Mapping[str, float], Solution]]:
    dense, reached = tracer.most[key], tracer.least(key)
    # From the tightest on: each plan keeps the next limit, too, and so is where the solver starts.
    for limit in np.linspace(reached.value, max(dense, reached.value), points):
        limits = {key: float(limit)}
        yield limits, tracer.best(limits, reached.choice if limit <= reached.value else None)


def _two(tracer: _Tracer, keys: tuple[str, ...], points: int) -> Iterator[tuple[Mapping[str, float], Solution]]:
    first, second = keys
    rows = max(round(math.sqrt(points)), 1)
    columns = max(points // rows, 2)
    dense, reached = tracer.most[first], tracer.least(first)
    most = tracer.most[second]
    for limit in np.linspace(reached.value, max(dense, reached.value), max(rows, 2)):
        given = {first: float(limit)}
        fallback = reached.choice if limit <= reached.value else None
        low = _lowest(tracer, second, given, fallback)
        free = {**given, second: max(most, low.value)}
        best = tracer.best(free, low.choice)
        high = tracer.table.total(second, best.choice)
        for other in np.linspace(low.value, max(high, low.value), columns)[:-1]:
            limits = {**given, second: float(other)}
            yield limits, tracer.best(limits, low.choice if other <= low.value else None)
        yield free, best


def _filled(tracer: _Tracer, keys: Sequence[str], found: list[FrontierPoint], points: int) -> list[FrontierPoint]:
    """The points that no other one beats, with new ones in the widest gaps until there are `points`."""
    *first, last = keys
    seen: dict[tuple[float, ...], float] = {}  # a gap → up to which limit in it the lower neighbour is the best plan
    smallest_gap = np.ptp([point.costs[last] for point in found]) / (64 * points)
    kept = _upper(keys, found)
    for _ in range(3 * points):
        gaps = [(gap[-1] - seen.get(gap, gap[-2]), gap) for gap in _gaps(keys, found)]
        width, gap = max(gaps, default=(0.0, ()))
        if len(kept) >= points or width <= smallest_gap:
            break
        *given, _, high = gap
        limit = high - width / 2
        limits = dict(zip(first, given, strict=True)) | {last: limit}
        point = _point(tracer.table, keys, limits, tracer.best(limits))
        if any(point.costs == one.costs for one in found):
            seen[gap] = limit
        else:
            found.append(point)
            kept = _upper(keys, found)
    return kept


def _gaps(keys: Sequence[str], found: Sequence[FrontierPoint]) -> list[tuple[float, ...]]:
    """(limit on the first of two costs,) lower and upper neighbour in the last cost."""
    *first, last = keys
    rows: dict[tuple[float, ...], set[float]] = {}
    for point in found:
        rows.setdefault(tuple(point.limits[key] for key in first), set()).add(point.costs[last])
    return [(*given, low, high) for given, costs in rows.items() for low, high in pairwise(sorted(costs))]


def _lowest(tracer: _Tracer, key: str, given: Mapping[str, float], fallback: Choice | None) -> Least:
    try:
        return tracer.least(key, given)
    except BudgetError:
        if fallback is None:
            raise
        return Least(tracer.table.total(key, fallback), fallback, proven=False)


def _unproven(table: CostTable, choice: Choice, limits: Mapping[str, float]) -> Solution:
    objective = table.objective(choice)
    return Solution(
        choice=choice,
        objective=objective,
        bound=0.0,
        gap=1.0 if objective else 0.0,
        status="time limit" if objective else "optimal",
        seconds=0.0,
        prices=dict.fromkeys(limits, 0.0),
    )


def _point(table: CostTable, keys: Sequence[str], limits: Mapping[str, float], solution: Solution) -> FrontierPoint:
    chosen = zip(table.layers, table.options, solution.choice, strict=True)
    costs = table.totals(solution.choice)
    return FrontierPoint(
        cost=costs[keys[0]],
        loss=solution.objective,
        gap=solution.gap,
        knee=False,
        options={name: options[k] for name, options, k in chosen},
        costs=costs,
        limits=limits,
        solution=solution,
    )


def _upper(keys: Sequence[str], points: Sequence[FrontierPoint]) -> list[FrontierPoint]:
    """Those that no other one beats in every cost and in loss, each once, in order of falling costs."""
    if not points:
        return []
    values = np.array([[*(point.costs[key] for key in keys), point.loss] for point in points])
    below = np.all(values[:, None, :] <= values[None, :, :], axis=2)
    earlier = np.triu(np.ones_like(below), 1)
    beaten = np.any(below & (~below.T | earlier), axis=0)
    left = [point for point, out in zip(points, beaten, strict=True) if not out]
    return sorted(left, key=lambda point: tuple(-point.costs[key] for key in keys))


def with_knee(points: Sequence[FrontierPoint], keys: Sequence[str]) -> tuple[FrontierPoint, ...]:
    """Marks the point that lies furthest below the chord between dense and the least, all axes scaled to their range.

    With two costs, their mean stands for the cost.
    """
    if len(points) < 3:
        return tuple(points)
    costs = np.array([[point.costs[key] for key in keys] for point in points])
    loss = np.array([point.loss for point in points])
    width, height = np.ptp(costs, axis=0), np.ptp(loss)
    if not np.all(width) or not height:
        return tuple(points)
    # The chord runs from (1, 0) to (0, 1), both axes measured from the ideal corner.
    below = 1 - ((costs - costs.min(axis=0)) / width).mean(axis=1) - (loss - loss.min()) / height
    knee = int(np.argmax(below))
    return tuple(replace(point, knee=bool(index == knee and below[knee] > 0)) for index, point in enumerate(points))
