"""Programs with one limit and no ties between layers, solved as the knapsacks that they are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from advisor.planning.solving.core import Found
from advisor.planning.solving.feasible import keeps
from advisor.planning.solving.knapsack import search
from advisor.planning.solving.program import Program
from advisor.planning.solving.relax import Relaxation
from advisor.planning.table import Choice

_MOST_STATES = 300_000
_FEW_LAYERS = 1000  # so many are searched for the optimum even where the gap is reached: it takes a moment


def solve_single(
    program: Program,
    limits: Mapping[str, float],
    relaxed: Relaxation,
    *,
    known: Choice | None,
    gap: float,
    deadline: float,
) -> Found | None:
    """As `core.solve_core`; None where the program is another one, or too many states are needed."""
    rows = [row for row in program.limit_rows(limits) if not row.is_empty]
    if program.table.groups or program.pattern_rows is not None or len(rows) != 1 or relaxed.status != "solved":
        return None
    table, key = program.table, rows[0].key
    start = known if known is not None and keeps(table, known, limits) else None
    worst = sum(float(column[ks].max()) for column, ks in zip(table.loss, program.kept, strict=True))
    value = table.objective(start) if start is not None else worst * (1 + 1e-9) + 1e-300
    if start is not None and value - relaxed.bound <= gap * value and len(program.kept) > _FEW_LAYERS:
        return Found(choice=start, bound=relaxed.bound)
    column, limit = ("weight_memory", limits[key]) if key == "peak_memory" else (key, limits[key])
    if key == "peak_memory" and table.peaks is not None:
        limit -= table.peaks.peak(())
    found = search(
        [losses[ks] for losses, ks in zip(table.loss, program.kept, strict=True)],
        [costs[ks] for costs, ks in zip(table.costs[column], program.kept, strict=True)],
        limit - table.constants.get(column, 0.0),
        lower=relaxed.bound,
        upper=value,
        gap=gap if len(program.kept) > _FEW_LAYERS else 0.0,
        most_states=_MOST_STATES,
        deadline=deadline,
    )
    for places in found.choices:
        choice = np.array([int(ks[k]) for ks, k in zip(program.kept, places, strict=True)], dtype=np.int64)
        if keeps(table, choice, limits):
            return Found(choice=choice, bound=min(found.bound, table.objective(choice)))
    if found.choices or start is None or value - found.bound > gap * value + 1e-12 * value:
        return None
    return Found(choice=start, bound=min(found.bound, value))
