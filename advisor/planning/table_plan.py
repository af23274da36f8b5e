"""The plan of a cost table that stands alone: no network, so nothing to draw, to mask or to apply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from advisor.errors import PlanError
from advisor.planning.budgets import COSTS, Budget, parse_budgets
from advisor.planning.constraints.asked import Asked, Rule
from advisor.planning.constraints.restrict import Restricted, restrict, solve_restricted
from advisor.planning.explaining.explanation import Basis
from advisor.planning.solving.shadow import binding
from advisor.planning.solving.solve import Solution, solve
from advisor.planning.table import Choice, CostTable
from advisor.plans.checks import TABLE
from advisor.plans.plan import CostLine, Plan, PlanLayer

_NAME = "cost table"


def check_alone(given: Mapping[str, object], defaults: Mapping[str, object] | None) -> None:
    """Refuses arguments of `advisor.plan` that a table has no use for.

    Raises:
        PlanError: one of `given` is not its default.
    """
    for name, value in given.items():
        default = (defaults or {})[name]
        same = value is default or (isinstance(value, str | int | float) and value == default)
        if not same:
            raise PlanError(
                f"{name}={str(value)[:60]!r} says nothing about a cost table, which has its costs and losses; leave it "
                "out, or plan a network"
            )


def plan_table(
    table: CostTable,
    *,
    budgets: Mapping[str, str | float | Budget] | Sequence[str],
    patterns: Sequence[str] | None = None,
    asked: Asked | None = None,
    gap: float = 1e-3,
    time_limit: float = 60.0,
    max_patterns: int | None = None,
    continuous: bool = False,
) -> Plan:
    """One option per layer of a table: least loss within all budgets, to a proven gap.

    Args:
        table: of any origin; shares of dense refer to its dense options (and its constants, where it has them).
        budgets: limits on the table's own costs, whatever they are called.
        patterns: leaves only these, and dense.
        asked: of single layers.
        gap, time_limit, max_patterns, continuous: as in `advisor.plan`. Between the table's densities costs and losses
            are interpolated.

    Raises:
        BudgetError, PlanError: as `advisor.plan`.
    """
    wanted = parse_budgets(budgets, table.keys)
    rules = asked.rules if asked is not None else ()
    if patterns is not None:
        rules = (*rules, Rule(layers="*", kind="allow", patterns=tuple(patterns)))
    dense = table.totals(table.dense)
    limits = {key: budget.limit(dense[key]) for key, budget in wanted.items()}
    if continuous:
        from advisor.planning.continuous.plans import table_off_grid

        return table_off_grid(
            table, Asked(rules=rules), limits, gap=gap, time_limit=time_limit, max_patterns=max_patterns
        )
    if not rules:
        return written(table, solve(table, limits, gap=gap, time_limit=time_limit, max_patterns=max_patterns), limits)
    left = restrict(table, Asked(rules=rules))
    found = solve_restricted(left, limits, gap=gap, time_limit=time_limit, max_patterns=max_patterns)
    plan = written(table, found, limits, notes=left.notes)
    return replace(plan, basis=partial(_basis, table, found, limits, left))


def _basis(table: CostTable, found: Solution, limits: Mapping[str, float], left: Restricted | None = None) -> Basis:
    """For the plan's explanation."""
    rules = zip(left.whole.layers, left.rules, strict=True) if left is not None else ()
    return Basis(
        table=table,
        choice=found.choice,
        limits=limits,
        prices=found.prices,
        allowed=left.kept if left is not None else (),
        asked={name: " and ".join(rule.text for rule in asked) for name, asked in rules if asked},
    )


def written(table: CostTable, found: Solution, limits: Mapping[str, float], *, notes: Sequence[str] = ()) -> Plan:
    """The plan of one solution on a table."""
    names = dict.fromkeys(option.pattern for options in table.options for option in options)
    return Plan(
        model=table.name or _NAME,
        input_shapes=(),
        layers=_layers(table, found.choice),
        costs=_lines(table, found.choice, limits),
        objective=found.objective,
        bound=found.bound,
        gap=found.gap,
        solve_seconds=found.seconds,
        status=found.status,
        binding=binding(found.prices, limits, found.objective),
        sensitivity="table",
        patterns=tuple(name for name in names if name != "dense"),
        seed=0,
        notes=(*table.notes, *notes),
        of_table=True,
        basis=partial(_basis, table, found, limits),
    )


def _layers(table: CostTable, choice: Choice) -> tuple[PlanLayer, ...]:
    chosen = (options[k] for options, k in zip(table.options, choice, strict=True))
    return tuple(
        PlanLayer(
            name=name,
            kind=TABLE,
            pattern=option.pattern,
            density=option.density,
            parameters=option.parameters,
            seed=0,
            weight="",
            weight_shape=(),
        )
        for name, option in zip(table.layers, chosen, strict=True)
    )


def _lines(table: CostTable, choice: Choice, limits: Mapping[str, float]) -> dict[str, CostLine]:
    dense, found = table.totals(table.dense), table.totals(choice)
    ordered = [key for key in COSTS if key in found] + [key for key in found if key not in COSTS]
    return {key: CostLine(dense=dense[key], plan=found[key], budget=limits.get(key)) for key in ordered}
