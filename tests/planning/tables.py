"""Small cost tables made from arrays, and the answer by trying everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
from hypothesis import strategies as st

from advisor.patterns.option import DENSE, Option
from advisor.planning.table import CostTable, LevelGroup, Peaks


def table_of(costs: Mapping[str, Sequence[Sequence[float]]], loss: Sequence[Sequence[float]]) -> CostTable:
    """A table without groups; the first option of each layer is the dense one."""
    return CostTable(
        layers=tuple(f"layer{i}" for i in range(len(loss))),
        options=tuple(options_of(len(column)) for column in loss),
        costs={key: tuple(np.array(c, float) for c in columns) for key, columns in costs.items()},
        loss=tuple(np.array(c, float) for c in loss),
    )


def options_of(count: int) -> tuple[Option, ...]:
    return (DENSE, *(Option(pattern="channel", density=1 - k / count) for k in range(1, count)))


def brute_force(
    table: CostTable,
    limits: Mapping[str, float],
    *,
    among: Sequence[Sequence[int]] | None = None,
    max_patterns: int | None = None,
) -> float | None:
    """The least objective within the limits; None where no choice keeps them.

    Args:
        among: per layer the options to choose from; all where None.
        max_patterns: at most so many patterns beside dense.
    """
    found = [
        table.objective(choice)
        for choice in product(*(among or [range(len(options)) for options in table.options]))
        if table.agrees(choice)
        and (max_patterns is None or len(patterns_of(table, choice)) <= max_patterns)
        and all(table.total(key, choice) <= limit for key, limit in limits.items())
    ]
    return min(found, default=None)


def patterns_of(table: CostTable, choice: Sequence[int]) -> set[str]:
    """The patterns that a choice uses beside dense."""
    return {options[k].pattern for options, k in zip(table.options, choice, strict=True)} - {"dense"}


numbers = st.integers(0, 20)
keys = ("params", "weight_memory", "latency")


@st.composite
def plain_tables(draw: st.DrawFn) -> CostTable:
    """Up to five layers of up to four options, two costs, integers with many ties."""
    counts = draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    columns = {key: [draw(st.lists(numbers, min_size=n, max_size=n)) for n in counts] for key in keys[:2]}
    loss = [draw(st.lists(numbers, min_size=n, max_size=n)) for n in counts]
    return table_of(columns, loss)


@st.composite
def mixed_tables(draw: st.DrawFn) -> CostTable:
    """As `plain_tables`, with options of up to three patterns beside dense."""
    table = draw(plain_tables())
    names = st.sampled_from(("channel", "group", "block"))
    options = tuple(
        (DENSE, *(replace(option, pattern=draw(names)) for option in options[1:])) for options in table.options
    )
    return replace(table, options=options)


@st.composite
def tied_tables(draw: st.DrawFn) -> CostTable:
    """Layers in a row with a width group between each two: an option names a level on both of its sides."""
    layers = draw(st.integers(1, 3))
    levels = (1.0, 0.5)
    options, requires, columns, loss = [], [], {key: [] for key in keys}, []
    for layer in range(layers):
        pairs = list(product(range(2), range(2)))
        extra = draw(st.integers(0, 2))  # further options at full width
        needs = [((layer, a), (layer + 1, b)) for a, b in pairs] + [((layer, 0), (layer + 1, 0))] * extra
        made = [DENSE] + [
            Option(pattern="width", density=levels[a] * levels[b], parameters={"in": levels[a], "out": levels[b]})
            for a, b in pairs[1:]
        ]
        made += [Option(pattern="channel", density=1 / (k + 2)) for k in range(extra)]
        options.append(tuple(made))
        requires.append(tuple(needs))
        for key in keys:
            columns[key].append(np.array(draw(st.lists(numbers, min_size=len(made), max_size=len(made))), float))
        loss.append(np.array(draw(st.lists(numbers, min_size=len(made), max_size=len(made))), float))
    pair = st.lists(numbers, min_size=2, max_size=2)
    groups = tuple(
        LevelGroup(
            name=f"g{g}", levels=levels, costs={"params": np.array(draw(pair), float)}, loss=np.array(draw(pair), float)
        )
        for g in range(layers + 1)
    )
    steps = draw(st.integers(1, 3))
    peaks = Peaks(
        base=np.array(draw(st.lists(numbers, min_size=steps, max_size=steps)), float),
        levels=tuple(np.array([draw(pair) for _ in range(steps)], float) for _ in groups),
    )
    return CostTable(
        layers=tuple(f"layer{i}" for i in range(layers)),
        options=tuple(options),
        costs={key: tuple(values) for key, values in columns.items()},
        loss=tuple(loss),
        constants={"latency": draw(st.integers(-5, 5))},
        groups=groups,
        requires=tuple(requires),
        peaks=peaks,
    )
