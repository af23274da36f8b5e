"""What can be reached at all, and what stands in the way of a budget."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np

from advisor.planning.budgets import cost_text
from advisor.planning.solving.program import build_program
from advisor.planning.table import Choice, CostTable

_SECONDS = 10.0


class Least(NamedTuple):
    """The smallest total of a cost, and the choice that has it. Not `proven`: the best that was found in time."""

    value: float
    choice: Choice
    proven: bool = True


def smallest(
    table: CostTable, key: str, limits: Mapping[str, float] | None = None, *, max_patterns: int | None = None
) -> Least | None:
    """The smallest total of one cost that any choice within the other `limits` has, and that choice.

    Args:
        max_patterns: as in `solve`.

    Returns:
        The value is in the cost's unit; None where no choice keeps the limits, or none was found in time.
    """
    others = {name: limit for name, limit in (limits or {}).items() if name != key}
    if not others and not table.groups and key != "peak_memory" and max_patterns is None:
        choice = np.array([int(np.argmin(column)) for column in table.costs[key]], dtype=np.int64)
        return Least(table.total(key, choice), choice)
    program = build_program(table, (key, *others), loss=False, max_patterns=max_patterns)
    answer = program.solve(others, minimise=key, gap=1e-9, time_limit=_SECONDS)
    if answer.choice is None:
        return None
    return Least(table.total(key, answer.choice), answer.choice, answer.status == "optimal")


def explain(table: CostTable, limits: Mapping[str, float], *, hint: str = "", max_patterns: int | None = None) -> str:
    """One line on why no choice keeps `limits`: the one that is out of reach, or those that exclude each other."""
    alternative = f" or {hint}" if hint else ""
    more = f" or allow more patterns than {max_patterns}" if max_patterns is not None else ""
    most = max_patterns
    for key, limit in limits.items():
        found = smallest(table, key, max_patterns=most)
        if found is not None and found.value > limit:
            free = smallest(table, key) if more else None
            alternative += more if free is not None and free.value < found.value else ""
            return (
                f"budget {key}={cost_text(key, limit)} is below the smallest {_word(found)} "
                f"{cost_text(key, found.value, up=True)} ({_limiting(table, key, found.choice)}); raise it{alternative}"
            )
    for first, second in combinations(limits, 2):
        found = smallest(table, first, {second: limits[second]}, max_patterns=most)
        if found is not None and found.value > limits[first]:
            other = smallest(table, second, {first: limits[first]}, max_patterns=most)
            return (
                f"budgets {first}={cost_text(first, limits[first])} and {second}={cost_text(second, limits[second])} "
                f"exclude each other: {_reachable(first, found, second, limits)}"
                f"{'; ' + _reachable(second, other, first, limits) if other else ''}; "
                f"raise one of them{alternative}{more}"
            )
    listed = ", ".join(f"{key}={cost_text(key, limit)}" for key, limit in limits.items())
    least = [
        f"{key} {cost_text(key, found.value, up=True)}{'' if found.proven else ' (found in time)'}"
        for key in limits
        if (found := smallest(table, key, limits, max_patterns=most)) is not None and found.value > limits[key]
    ]
    given = f"; given the others, the smallest reachable are {', '.join(least)}" if least else ""
    return f"budgets {listed} cannot be met together, though any two of them can{given}; raise one{alternative}{more}"


def _word(found: Least) -> str:
    return "reachable" if found.proven else "found in time"


def _reachable(key: str, found: Least, other: str, limits: Mapping[str, float]) -> str:
    return (
        f"with {other}={cost_text(other, limits[other])} the smallest {_word(found)} {key} is "
        f"{cost_text(key, found.value, up=True)}"
    )


def _limiting(table: CostTable, key: str, choice: Choice) -> str:
    """The layer that costs most in the smallest plan, or what no layer's choice changes."""
    column = "weight_memory" if key == "peak_memory" else key
    costs = [float(values[k]) for values, k in zip(table.costs[column], choice, strict=True)]
    layer = int(np.argmax(costs))
    fixed = table.constants.get(column, 0.0)
    if table.groups:
        chosen = zip(table.groups, table.levels_of(choice), strict=True)
        fixed += sum(float(group.costs[column][level]) for group, level in chosen if column in group.costs)
    if key == "peak_memory" and table.peaks is not None:
        activations = table.peaks.peak(table.levels_of(choice))
        if activations > costs[layer]:
            return f"activations take {cost_text(key, activations)} of it, which only narrower layers change"
    if fixed > costs[layer]:
        return f"what no layer's option changes takes {cost_text(key, fixed)} of it"
    option = table.options[layer][choice[layer]]
    options = len(table.options[layer])
    how = "which has no other option" if options == 1 else f"with {option.label}, its cheapest option,"
    return f"{table.layers[layer]} limits it most: {how} it takes {cost_text(key, costs[layer])}".replace(
        "option it", "option, it"
    )
