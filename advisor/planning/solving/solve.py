"""The exact choice of one option per layer: a mixed integer program, solved by HiGHS, checked on the raw table."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from advisor.errors import BudgetError, unknown
from advisor.planning.solving.core import Found, solve_core
from advisor.planning.solving.feasible import feasible, keeps, least
from advisor.planning.solving.infeasible import explain
from advisor.planning.solving.program import Answer, Program, build_program
from advisor.planning.solving.relax import Relaxation, relax
from advisor.planning.solving.single import solve_single
from advisor.planning.solving.start import first_choice
from advisor.planning.table import Choice, CostTable

_FIRST_SHARE = 0.7  # of the time limit for the program as it is, the rest for better plans near the one found
_TOLERANCE = 1e-6  # relative, of the solver's bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """One option per layer, and how far it can be from the best one."""

    choice: Choice  # (L,)
    objective: float
    bound: float  # no choice within the limits has a smaller objective
    gap: float  # (objective − bound) / |objective|; 0 where the objective is 0
    status: Literal["optimal", "time limit"]
    seconds: float
    # Cost → by how much one unit more of its limit lowers the loss, in the linear relaxation; 0 where it does not bind.
    prices: Mapping[str, float] = field(default_factory=dict)


def solve(
    table: CostTable,
    limits: Mapping[str, float],
    *,
    gap: float = 1e-3,
    time_limit: float = 60.0,
    hint: str = "",
    max_patterns: int | None = None,
    known: Choice | None = None,
    program: Program | None = None,
) -> Solution:
    """Least loss within `limits`, proven to `gap`.

    The linear relaxation comes first: it bounds the loss, prices the limits, and leaves a core of options to the
    integer program (`core`); under one limit without width groups the rest is a knapsack (`single`), solved to the
    optimum. The answer is totalled again on the raw table, and is never over a limit: a choice that the solver let
    through within its tolerance is excluded and the program solved again.

    Args:
        table: the costs.
        limits: cost → upper limit in the cost's unit; none at all gives the plan of least loss.
        gap: relative gap at which to stop, 0 or more.
        time_limit: seconds; the best plan found by then is returned with its gap and status "time limit".
        hint: what else the user could do about a limit that cannot be met; ends that error's text.
        max_patterns: at most so many different patterns beside dense; any number where None.
        known: a choice to start from, ignored where it is not within the limits.
        program: that of `build_program` for this table, these costs and this number of patterns, if there already.

    Raises:
        BudgetError: the table does not hold a limited cost, `max_patterns` is less than 1, no choice meets the limits,
            or none was found in time.
    """
    for key in limits:
        if key not in table.keys:
            raise BudgetError(unknown("cost of this table", key, table.keys))
    check_max_patterns(max_patterns)
    start = time.perf_counter()
    if program is None:
        program = build_program(table, tuple(limits), max_patterns=max_patterns)
    first = start + time_limit * (_FIRST_SHARE if table.groups else 1.0)
    relaxed = relax(program, limits, time_limit=first - time.perf_counter())
    found = Found(choice=None, bound=relaxed.bound, is_infeasible=relaxed.status == "infeasible")
    if not found.is_infeasible:
        known = _best(program, limits, [known, relaxed.choice, _first(program, limits, relaxed)])
        single = solve_single(program, limits, relaxed, known=known, gap=gap, deadline=first)
        found = single or solve_core(program, limits, relaxed, known=known, gap=gap, deadline=first)
    if found.is_infeasible:
        raise BudgetError(explain(table, limits, hint=hint, max_patterns=max_patterns))
    choice = found.choice
    if table.groups and choice is None:
        choice = _with_one_factor(program, limits, gap, start + time_limit)
    if choice is None:
        raise BudgetError(
            f"no plan found within {time_limit:g} s; raise the time limit (--time-limit), ask for fewer patterns, "
            "or loosen the budgets"
        )
    objective = table.objective(choice)
    bound = max(found.bound, least(table))
    if table.groups and objective - bound > gap * abs(objective) + _TOLERANCE * abs(objective):
        choice = _improved(program, limits, choice, gap, start + time_limit)
        objective = table.objective(choice)
    bound = min(bound, objective)
    reached = (objective - bound) / abs(objective) if objective else 0.0
    return Solution(
        choice=choice,
        objective=objective,
        bound=bound,
        gap=reached,
        status="optimal" if reached <= gap + _TOLERANCE else "time limit",
        seconds=time.perf_counter() - start,
        prices=dict(relaxed.prices) or dict.fromkeys(limits, 0.0),
    )


def check_max_patterns(most: int | None) -> None:
    """Raises BudgetError where `most` is no number of patterns."""
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
        raise BudgetError(f"max_patterns={most!r}; expected a whole number of 1 or more, or None for any number")


def _first(program: Program, limits: Mapping[str, float], relaxed: Relaxation) -> Choice | None:
    if relaxed.choice is not None or not (program.table.groups or program.pattern_rows is not None):
        return None
    return first_choice(program, limits, relaxed.prices, relaxed.levels)


def _best(program: Program, limits: Mapping[str, float], choices: Sequence[Choice | None]) -> Choice | None:
    """The least losing of those that keep the limits."""
    kept = [c for c in choices if c is not None and keeps(program.table, c, limits, program.max_patterns)]
    return min(kept, key=program.table.objective, default=None)


def _with_one_factor(program: Program, limits: Mapping[str, float], gap: float, deadline: float) -> Choice | None:
    """The best choice with every width group near one factor, for programs in which the solver found nothing at all."""
    best: Answer | None = None
    for factor in sorted({level for group in program.table.groups for level in group.levels}, reverse=True):
        nearest = [
            (min(range(len(group.levels)), key=lambda v, ls=group.levels: abs(ls[v] - factor)),)  # type: ignore[misc]
            for group in program.table.groups
        ]
        if time.perf_counter() > deadline:
            break
        found, _ = feasible(program, limits, gap, deadline, levels=nearest)
        if found is not None and found.choice is not None:
            if best is not None and _objective(program, found) >= _objective(program, best):
                break
            best = found
    return best.choice if best is not None else None


def _objective(program: Program, answer: Answer) -> float:
    return float("inf") if answer.choice is None else program.table.objective(answer.choice)


def _improved(program: Program, limits: Mapping[str, float], choice: Choice, gap: float, deadline: float) -> Choice:
    """Better choices near one that the solver stopped at: the layers free, each width group at most a level away.

    Coupled levels are what makes large programs slow; nearly fixed, the rest is solved in a moment.
    """
    while time.perf_counter() < deadline:
        near = [range(level - 1, level + 2) for level in program.table.levels_of(choice)]
        found, _ = feasible(program, limits, gap, deadline, levels=near)
        if found is None or found.choice is None:
            return choice
        if program.table.objective(found.choice) >= program.table.objective(choice) * (1 - 1e-6):
            return choice
        choice = found.choice
    return choice
