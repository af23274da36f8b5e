"""A cost table with only those options that the user's constraints leave. Nothing else changes: the same best plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from advisor.errors import BudgetError, PlanError, unknown
from advisor.patterns.option import Option
from advisor.planning.budgets import cost_text
from advisor.planning.constraints.asked import Asked, Rule
from advisor.planning.solving.infeasible import smallest
from advisor.planning.solving.solve import Solution, solve
from advisor.planning.table import Choice, CostTable

Ints = NDArray[np.int64]
_SECONDS = 10.0  # to see whether the budgets can be met at all
_DENSITIES = 8  # of one pattern that a complaint lists


@dataclass(frozen=True, slots=True, kw_only=True)
class Restricted:
    """The options of `whole` that are left.

    Attributes:
        table: with these alone. Shares of dense are taken of `whole`.
        kept: per layer their indices in `whole`.
        rules: per layer what was asked of it.
        notes: what was asked of layers that cannot do it, and had no need to.
    """

    whole: CostTable
    table: CostTable
    kept: tuple[Ints, ...]
    rules: tuple[tuple[Rule, ...], ...]
    notes: tuple[str, ...] = ()

    def in_whole(self, choice: Choice) -> Choice:
        """A choice of `table` as one of `whole`."""
        return np.array([int(ks[k]) for ks, k in zip(self.kept, choice, strict=True)], dtype=np.int64)

    def in_table(self, choice: Choice) -> Choice | None:
        """A choice of `whole` as one of `table`; None where an option of it is not left."""
        places = [np.flatnonzero(ks == k) for ks, k in zip(self.kept, choice, strict=True)]
        return np.array([int(place[0]) for place in places]) if all(place.size for place in places) else None


def restrict(table: CostTable, constraints: Asked) -> Restricted:
    """Drops what the constraints exclude, and what then no other layer of a width group goes along with.

    A rule by a glob leaves layers alone that have no other option than dense; one by the layer's name does not.

    Raises:
        PlanError: a rule that names no layer or no pattern of the table, or rules that leave a layer no option: the
            layer, what was asked, and what it has.
    """
    constraints.check_names(table.layers)
    _check_patterns(table, constraints)
    kept: list[Ints] = []
    rules: list[tuple[Rule, ...]] = []
    alone: dict[str, list[str]] = {}
    for layer, options in zip(table.layers, table.options, strict=True):
        asked = constraints.of(layer)
        if all(option.pattern == "dense" for option in options):
            free = [rule for rule in asked if rule.layers != layer and not _left(options, [rule]).size]
            for rule in free:
                alone.setdefault(rule.text, []).append(layer)
            asked = [rule for rule in asked if rule not in free]
        left = _left(options, asked)
        if not left.size:
            raise PlanError(_nothing_left(layer, options, asked))
        kept.append(left)
        rules.append(tuple(asked))
    notes = tuple(
        f"{text} leaves alone what can only stay dense: {', '.join(names[:6])}"
        + (f" and {len(names) - 6} more" if len(names) > 6 else "")
        for text, names in alone.items()
    )
    agreeing = _agreeing(table, kept, rules)
    return Restricted(whole=table, table=table.subset(agreeing), kept=tuple(agreeing), rules=tuple(rules), notes=notes)


def _left(options: Sequence[Option], rules: Sequence[Rule]) -> Ints:
    return np.array([k for k, o in enumerate(options) if all(rule.allows(o) for rule in rules)], dtype=np.int64)


def _check_patterns(table: CostTable, constraints: Asked) -> None:
    offered = {option.pattern for options in table.options for option in options} | {"dense"}
    for rule in constraints.rules:
        for name in rule.patterns:
            if name not in offered:
                raise PlanError(
                    f"{rule.text} for {rule.layers}: {unknown('pattern', name, offered)}; a layer can only take what "
                    "all may choose from (--patterns)"
                )


def _nothing_left(layer: str, options: Sequence[Option], rules: Sequence[Rule]) -> str:
    """Which layer, what was asked of it, what it has, and what to do."""
    asked = " and ".join(rule.text for rule in rules)
    have = listed(options)
    if all(option.pattern == "dense" for option in options):
        return (
            f"layer {layer}: {asked} cannot be, as it only has dense; let it be, or offer it more (--include-ends for "
            "the first and the last layer, other --patterns)"
        )
    return f"layer {layer}: no option for {asked}; it has {have}; take one of these, or offer more patterns"


def listed(options: Sequence[Option]) -> str:
    """ "dense, channel at 0.5, 0.25, group at 0.5": a layer's options by pattern."""
    found: dict[str, list[float]] = {}
    for option in options:
        found.setdefault(option.pattern, []).append(option.density)
    parts = []
    for pattern, densities in found.items():
        distinct = list(dict.fromkeys(f"{density:.4g}" for density in sorted(densities, reverse=True)))
        more = ", …" if len(distinct) > _DENSITIES else ""
        parts.append(pattern if pattern == "dense" else f"{pattern} at {', '.join(distinct[:_DENSITIES])}{more}")
    return ", ".join(parts)


def _agreeing(table: CostTable, kept: Sequence[Ints], rules: Sequence[Sequence[Rule]]) -> list[Ints]:
    """Of the options `kept` those whose levels some option of every other layer of the group wants, too."""
    left = list(kept)
    if not table.groups:
        return left
    while True:
        levels = _levels(table, left)
        for group, by_layer in enumerate(levels):
            if by_layer and not set.intersection(*by_layer.values()):
                raise PlanError(_disagreement(table, group, by_layer, rules))
        common = [set.intersection(*by_layer.values()) if by_layer else set[int]() for by_layer in levels]
        smaller = [
            np.array([k for k in ks if all(v in common[g] for g, v in table.requires[layer][k])], dtype=np.int64)
            for layer, ks in enumerate(left)
        ]
        if all(len(a) == len(b) for a, b in zip(smaller, left, strict=True)):
            return left
        left = smaller


def _levels(table: CostTable, kept: Sequence[Ints]) -> list[dict[int, set[int]]]:
    """Per group: layer → the levels that its options want."""
    found: list[dict[int, set[int]]] = [{} for _ in table.groups]
    for layer, ks in enumerate(kept):
        for k in ks:
            for group, level in table.requires[layer][k]:
                found[group].setdefault(layer, set()).add(level)
        for group, _ in table.requires[layer][0]:
            found[group].setdefault(layer, set())
    return found


def _disagreement(table: CostTable, group: int, levels: Mapping[int, set[int]], rules: Sequence[Sequence[Rule]]) -> str:
    """Which layers of a group exclude each other, and by what."""
    ordered = sorted(levels, key=lambda layer: (not rules[layer], len(levels[layer])))
    first = ordered[0]
    second = next((layer for layer in ordered[1:] if not levels[layer] & levels[first]), ordered[-1])
    parts = []
    for layer in dict.fromkeys((first, second)):
        asked = " and ".join(rule.text for rule in rules[layer]) or "nothing asked of itself"
        widths = ", ".join(f"{table.groups[group].levels[level]:g}" for level in sorted(levels[layer])) or "none"
        parts.append(f"{table.layers[layer]} ({asked}) leaves widths {widths}")
    return (
        f"what is asked of the layers of width group {table.groups[group].name!r} excludes each other: "
        f"{'; '.join(parts)}; ask the same of both"
    )


def solve_restricted(
    found: Restricted,
    limits: Mapping[str, float],
    *,
    gap: float,
    time_limit: float,
    hint: str = "",
    max_patterns: int | None = None,
    known: Choice | None = None,
) -> Solution:
    """As `solve`, over the options that are left; the choice is one of the whole table, as is a `known` one.

    Raises:
        BudgetError: as `solve`; where the budgets can be met without the constraints, which of these is in the way.
    """
    try:
        solution = solve(
            found.table,
            limits,
            gap=gap,
            time_limit=time_limit,
            hint=hint,
            max_patterns=max_patterns,
            known=None if known is None else found.in_table(known),
        )
    except BudgetError as error:
        solve(found.whole, limits, gap=1.0, time_limit=_SECONDS, hint=hint, max_patterns=max_patterns)
        raise explain_restricted(found, limits, str(error)) from None
    return replace(solution, choice=found.in_whole(solution.choice))


def explain_restricted(found: Restricted, limits: Mapping[str, float], told: str) -> BudgetError:
    """Why budgets that could be met without the constraints cannot be met with them.

    Args:
        found: the constraints on the table.
        limits: the budgets.
        told: what the solver said, for budgets that only exclude each other together.
    """
    for key, limit in limits.items():
        within = smallest(found.table, key)
        free = smallest(found.whole, key)
        if within is None or free is None or not free.value <= limit < within.value:
            continue
        column = "weight_memory" if key == "peak_memory" else key
        extra = np.array(
            [values[ks].min() - values.min() for values, ks in zip(found.whole.costs[column], found.kept, strict=True)]
        )
        asked_of = np.array([bool(rules) for rules in found.rules])
        layer = int(np.argmax(np.where(asked_of & (extra > 0), extra + extra.max(), extra)))
        values, ks = found.whole.costs[column][layer], found.kept[layer]
        asked = " and ".join(rule.text for rule in found.rules[layer]) or "what is asked of its neighbours"
        return BudgetError(
            f"budget {key}={cost_text(key, limit)} cannot be met with what is asked of the layers: the smallest "
            f"reachable is {cost_text(key, within.value, up=True)}; {found.whole.layers[layer]} ({asked}) takes "
            f"{cost_text(key, float(values[ks].min()))} of it, and could take {cost_text(key, float(values.min()))} "
            f"(it has {listed(found.whole.options[layer])}); loosen that, or raise the budget"
        )
    asked = ", ".join(f"{rule.layers} ({rule.text})" for rule in dict.fromkeys(r for rs in found.rules for r in rs))
    return BudgetError(f"{told}; without what is asked of {asked[:200]} the budgets can be met")
