"""What ties the options of a program together: one per layer, one level per width group, few patterns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from advisor.planning.solving.rows import Block, Floats
from advisor.planning.table import CostTable


def structure_rows(
    table: CostTable, layer_of: NDArray[np.int64], option_of: NDArray[np.int64], offsets: NDArray[np.int64]
) -> tuple[sparse.csr_array, Floats]:
    """One option per layer, and each option's levels chosen for its groups."""
    count, layers = len(layer_of), len(table.layers)
    links: dict[tuple[int, int, int], int] = {}
    rows, places, values = [], [], []
    for layer, needs in enumerate(table.requires):
        for group, _ in needs[0]:
            for level in range(len(table.groups[group].levels)):
                row = links[layer, group, level] = layers + len(links)
                rows.append(row)
                places.append(count + int(offsets[group]) + level)
                values.append(-1.0)
    if links:
        for i, (layer, k) in enumerate(zip(layer_of.tolist(), option_of.tolist(), strict=True)):
            for group, level in table.requires[layer][k]:
                rows.append(links[layer, group, level])
                places.append(i)
                values.append(1.0)
    entries = np.concatenate([np.ones(count), values])
    where = (np.concatenate([layer_of, np.array(rows, int)]), np.concatenate([np.arange(count), np.array(places, int)]))
    sides = np.concatenate([np.ones(layers), np.zeros(len(links))])
    return sparse.csr_array((entries, where), shape=(len(sides), count + int(offsets[-1]))), sides


def count_rows(
    table: CostTable, layer_of: NDArray[np.int64], option_of: NDArray[np.int64], levels: int, most: int | None
) -> tuple[tuple[str, ...], Block | None]:
    """The patterns whose number is limited, and the rows that limit it, over x, y and u."""
    if most is None:
        return (), None
    used = [table.options[layer][k].pattern for layer, k in zip(layer_of, option_of, strict=True)]
    names = tuple(sorted(set(used) - {"dense"}))
    size = len(used) + levels
    if not names:
        return (), None
    place = {name: size + index for index, name in enumerate(names)}
    lines: dict[tuple[int, str], int] = {}
    entries = []
    for i, (layer, name) in enumerate(zip(layer_of.tolist(), used, strict=True)):
        if name != "dense":
            entries.append((lines.setdefault((layer, name), len(lines)), i, 1.0))
    entries += [(row, place[name], -1.0) for (_, name), row in lines.items()]
    entries += [(len(lines), column, 1.0) for column in place.values()]
    rows, columns, values = zip(*entries, strict=True)
    matrix = sparse.csr_array((values, (rows, columns)), shape=(len(lines) + 1, size + len(names)))
    upper = np.append(np.zeros(len(lines)), float(most))
    return names, Block(matrix, np.full(len(upper), -np.inf), upper)
