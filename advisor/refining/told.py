"""The plan that refining ends with, and what is said of the rounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from advisor.planning.budgets import TIMES, cost_text
from advisor.planning.remarks import uncertain
from advisor.refining.trials import BAND, Bench, Tried

if TYPE_CHECKING:
    from advisor.planning.explaining.explanation import Basis
    from advisor.plans.plan import CostLine, Plan
    from advisor.plans.rounds import Round


def final_plan(bench: Bench, stopped: str) -> Plan:
    """The best plan that was measured: its measured costs in place of the predicted ones, and the rounds.

    Args:
        bench: with one measured plan or more.
        stopped: why there was no further round, "" where the rounds were over or the budget was met.
    """
    best = bench.best
    lines = {key: _line(bench, best, key) for key in bench.gauges}
    # An interval of the prediction says nothing where the cost itself was measured.
    guessed = set(uncertain({key: line for key, line in best.plan.costs.items() if key in lines}))
    notes = [*_notes(bench, best, lines, stopped), *best.notes, *(n for n in best.plan.notes if n not in guessed)]
    paces = {key: bench.dense(key) / bench.scale(key) for key in bench.gauges if key in TIMES}
    budgets = {key: lines[key].budget or 0.0 for key in paces}
    basis = best.plan.basis
    return replace(
        best.plan,
        basis=partial(_at_pace, basis, paces, budgets) if basis is not None else None,
        costs={**best.plan.costs, **lines},
        rounds=tuple(replace(line, kept=tried is best) for tried, line in bench.rounds),
        notes=tuple(dict.fromkeys(notes)),
    )


def _at_pace(basis: Callable[[], Basis], paces: Mapping[str, float], budgets: Mapping[str, float]) -> Basis:
    """The corrected table with its times as this machine took them, so that an explanation adds up to the costs."""
    found = basis()
    table, limits, prices = found.table, dict(found.limits), dict(found.prices)
    costs, constants = dict(table.costs), dict(table.constants)
    for key, pace in paces.items():
        costs[key] = tuple(pace * column for column in costs[key])
        constants[key] = pace * constants.get(key, 0.0)
        limits[key] = budgets[key]
        prices[key] = prices.get(key, 0.0) / pace
    return replace(found, table=replace(table, costs=costs, constants=constants), limits=limits, prices=prices)


def _line(bench: Bench, tried: Tried, key: str) -> CostLine:
    from advisor.plans.plan import CostLine

    dense, share = bench.dense(key), tried.share(key)
    known = share.repeats > 1  # a single run has no interval
    return CostLine(
        dense=dense,
        plan=share.median_ms * dense,
        budget=bench.limit(key) * dense,
        low=share.low_ms * dense if known else None,
        high=share.high_ms * dense if known else None,
    )


def _notes(bench: Bench, best: Tried, lines: dict[str, CostLine], stopped: str) -> list[str]:
    found = []
    for key, line in lines.items():
        over = bench.over(best, key)
        said = bench.problem.built.table.total(key, best.solution.choice) / bench.scale(key)
        found.append(
            f"{key} is measured here ({best.settings[key]}), not predicted: {line.plan / line.dense:.1%} of dense, "
            f"where the table before any correction said {said:.1%}"
        )
        if over > 0:
            found.append(
                f"{key} was measured {over:.1%} over its budget: {stopped or 'the rounds are over; allow more of them'}"
            )
        elif over < -BAND:
            found.append(f"{key} ends {-over:.1%} below its budget: {stopped or _slack(bench)}")
        elif line.high is not None and line.budget is not None and line.high > line.budget:
            found.append(
                f"{key} was measured within its budget of {cost_text(key, line.budget)}, but the 95 % interval reaches "
                f"{cost_text(key, line.high)}"
            )
    if stopped.startswith("interrupted"):
        found.append(f"refining was {stopped}; this is the best plan until then")
    found.append(
        f"objective, bound and gap hold for the corrected table, asked for {BAND / 2:.1%} less than the measured budget"
    )
    return found


def _slack(bench: Bench) -> str:
    others = [key for key in bench.problem.budgets if key not in bench.gauges]
    binding = f"another budget binds ({', '.join(others)}), or " if others else ""
    return f"{binding}the rounds are over; allow more of them"


def round_text(line: Round) -> str:
    """One round in one line, for people."""
    if line.budget is None:
        return (
            f"round {line.number}: {line.cost} predicted to rise by {line.predicted:.4g}; trained it is "
            f"{line.dense + line.measured:.4g}, {line.measured:+.4g} from the dense network's {line.dense:.4g} (seeds "
            f"{line.low:+.4g} to {line.high:+.4g})"
        )
    correction = ", ".join(f"{way} x{factor:.3f}" for way, factor in sorted(line.factors.items()))
    told = f"; table corrected by {correction}" if correction else ""
    state = "within 3 % of" if line.within else ("over" if line.measured > line.budget else "below")
    return (
        f"round {line.number}: {line.cost} predicted {line.predicted / line.dense:.1%} of dense, measured "
        f"{line.measured / line.dense:.1%} ({line.low / line.dense:.1%} to {line.high / line.dense:.1%}, "
        f"{cost_text(line.cost, line.measured)}), {state} the budget of {line.budget / line.dense:.1%}{told}"
    )
