"""A first choice within the limits where layers are tied, in a moment: levels guessed, layers repaired."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from advisor.planning.solving.feasible import keeps
from advisor.planning.solving.program import Program
from advisor.planning.solving.repair import Grid, repaired
from advisor.planning.solving.rows import Floats, limit_row
from advisor.planning.table import Choice

Ints = NDArray[np.int64]


def first_choice(
    program: Program, limits: Mapping[str, float], prices: Mapping[str, float], levels: Sequence[int] | None
) -> Choice | None:
    """The best of a few choices that keep the limits; None where none does.

    With one level per group given, layers are free of each other, and a choice is repaired layer by layer (`repair`).
    The levels that are tried: those that the relaxation prefers, and every group near one factor.

    Args:
        prices: of the limits, from the relaxation; none where it ended without an answer.
        levels: (G,) what the relaxation prefers.
    """
    needs = _needs(program)
    best: Choice | None = None
    value = np.inf
    for tried in _guesses(program, levels):
        for among in _patterns(program):
            choice = _with_levels(program, limits, prices, np.array(tried, dtype=np.int64), needs, among)
            if choice is None or not keeps(program.table, choice, limits, program.max_patterns):
                continue
            if (objective := program.table.objective(choice)) < value:
                best, value = choice, objective
    return best


def _guesses(program: Program, levels: Sequence[int] | None) -> Iterator[tuple[int, ...]]:
    groups = program.table.groups
    if levels is not None or not groups:
        yield tuple(levels or ())
    for factor in sorted({level for group in groups for level in group.levels}, reverse=True):
        yield tuple(int(np.argmin(np.abs(np.array(group.levels) - factor))) for group in groups)


def _patterns(program: Program) -> Iterator[NDArray[np.bool_]]:
    """Which options to take: all, or those of one pattern at a time where their number is limited."""
    if program.max_patterns is None:
        yield np.ones(len(program.layer_of), dtype=np.bool_)
        return
    table = program.table
    used = np.array(
        [table.options[layer][k].pattern for layer, k in zip(program.layer_of, program.option_of, strict=True)]
    )
    for name in program.patterns or ("dense",):
        yield (used == name) | (used == "dense")


def _needs(program: Program) -> tuple[Ints, Ints]:
    """(X, N) the groups that each option follows and the levels that it needs of them; group -1 is none."""
    requires = [program.table.requires[layer][k] for layer, k in zip(program.layer_of, program.option_of, strict=True)]
    width = max((len(pairs) for pairs in requires), default=0)
    groups = np.full((len(requires), width), -1, dtype=np.int64)
    levels = np.zeros((len(requires), width), dtype=np.int64)
    for i, pairs in enumerate(requires):
        for place, (group, level) in enumerate(pairs):
            groups[i, place], levels[i, place] = group, level
    return groups, levels


def _with_levels(
    program: Program,
    limits: Mapping[str, float],
    prices: Mapping[str, float],
    levels: Ints,
    needs: tuple[Ints, Ints],
    among: NDArray[np.bool_],
) -> Choice | None:
    groups, wanted = needs
    fits = among & np.all((groups < 0) | (levels[groups] == wanted), axis=1)
    counts = np.bincount(program.layer_of[fits], minlength=len(program.kept))
    if not counts.all():
        return None
    places = np.array(program.level_offsets[:-1], dtype=np.int64) + levels
    rows, costs, most = [], [], []
    for key, limit in limits.items():
        if key == "peak_memory" and program.table.peaks is not None:
            limit -= program.table.peaks.peak(levels.tolist())
        row = limit_row(program.table, program.kept, "weight_memory" if key == "peak_memory" else key, limit)
        rows.append(prices.get(key, 0.0) * row.unit)
        costs.append(row.options[fits])
        most.append(row.limit - float(row.levels[places].sum()))
    loss, _ = program.objective()
    grid = Grid.of(loss[: len(fits)][fits], np.array(costs).reshape(len(rows), -1), np.array(most), counts)
    price: Floats = np.array(rows)
    start = (grid.loss + np.tensordot(price, grid.costs, axes=1)).argmin(axis=1)
    found = repaired(grid, start, price)
    if found is None:
        return None
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    choice: Choice = program.option_of[fits][first + found]
    return choice
