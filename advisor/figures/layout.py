"""Where the nodes of a layer graph stand: generations from top to bottom, folded into columns when there are many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import networkx as nx

ROWS = 24  # generations in one column; a longer network goes on at the top of the next column
COLUMNS = 5  # no more than these side by side: then the columns grow
_REACH = 5  # a column may end this many generations early where fewer nodes have edges across
LEFT_LANES, RIGHT_LANES = 2.1, 2.6  # room for names on the sides of a column
_SIDE = 0.34  # how far beside the nodes a long edge passes
Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Node → (x, y) in lanes and rows, y downwards from 0; `breaks[c]` is the first generation of column c."""

    positions: dict[str, Point]
    generation: dict[str, int]
    breaks: tuple[int, ...]
    rows: int
    width: float
    gaps: tuple[float, ...]  # x of the free strip before each column but the first
    lanes: int  # most nodes side by side in one generation


def acyclic(graph: nx.DiGraph[str]) -> nx.DiGraph[str]:
    """A copy without the edges that close a cycle, as a layer that is used twice makes them."""
    result = nx.DiGraph(graph)
    result.remove_edges_from(list(nx.selfloop_edges(result)))
    while not nx.is_directed_acyclic_graph(result):
        result.remove_edge(*nx.find_cycle(result)[-1][:2])
    return result


def place(graph: nx.DiGraph[str]) -> Placement:
    """Places an acyclic graph: nodes near the mean of those that feed them, one lane apart at least.

    Args:
        graph: acyclic.
    """
    generations = [list(nodes) for nodes in nx.topological_generations(graph)]
    generation = {name: row for row, nodes in enumerate(generations) for name in nodes}
    breaks = _breaks(graph, generation, len(generations))
    positions: dict[str, Point] = {}
    lanes = max((len(nodes) for nodes in generations), default=0)
    before = LEFT_LANES if lanes == 2 else 0.9
    left = before
    rows = 0
    gaps: list[float] = []
    for start, end in pairwise((*breaks, len(generations))):
        local: dict[str, float] = {}
        for row in range(start, end):
            local |= _spread(graph, generations[row], local)
        low, high = min(local.values(), default=0.0), max(local.values(), default=0.0)
        for name, x in local.items():
            positions[name] = (left + x - low, float(generation[name] - start))
        gaps.append(left + high - low + RIGHT_LANES)
        left = gaps[-1] + before
        rows = max(rows, end - start)
    return Placement(
        positions=positions,
        generation=generation,
        breaks=breaks,
        rows=rows,
        width=left - before,
        gaps=tuple(gaps[:-1]),
        lanes=lanes,
    )


def _spread(graph: nx.DiGraph[str], nodes: Sequence[str], known: dict[str, float]) -> dict[str, float]:
    wanted: dict[str, float] = {}
    for name in nodes:
        above = [known[source] for source in graph.predecessors(name) if source in known]
        wanted[name] = sum(above) / len(above) if above else 0.0
    order = sorted(nodes, key=lambda name: wanted[name])
    placed: list[float] = []
    for name in order:
        placed.append(max(wanted[name], placed[-1] + 1.0) if placed else wanted[name])
    # Pushing to the right only would let the drawing wander; bring the row back to where it wanted to be.
    shift = sum(placed) / len(placed) - sum(wanted.values()) / len(wanted)
    return {name: x - shift for name, x in zip(order, placed, strict=True)}


def _breaks(graph: nx.DiGraph[str], generation: dict[str, int], count: int) -> tuple[int, ...]:
    """Where the columns start: about evenly, moved up to where the fewest nodes have edges across."""
    # Counted by their sources: the two edges that leave one join belong together.
    crossing = [0] * (count + 1)
    for source in graph:
        last = max((generation[target] for target in graph.successors(source)), default=generation[source])
        for row in range(generation[source] + 1, last + 1):
            crossing[row] += 1
    columns = min(max(1, -(-count // ROWS)), COLUMNS)
    breaks = [0]
    for column in range(1, columns):
        aim = breaks[-1] + -(-(count - breaks[-1]) // (columns - column + 1))
        choices = range(max(breaks[-1] + 1, aim - _REACH), aim + 1)
        breaks.append(min(choices, key=lambda row: (crossing[row], -row)))
    return tuple(breaks)


def route(source: str, target: str, placement: Placement) -> tuple[Point, ...]:
    """The points of one edge: straight, around the nodes that it jumps over, or over to the next column."""
    a, b = placement.positions[source], placement.positions[target]
    from_row, to_row = placement.generation[source], placement.generation[target]
    from_column, to_column = _column(from_row, placement), _column(to_row, placement)
    if from_column != to_column:
        # Down, up through the gap between the columns, and in from above.
        gap = placement.gaps[max(from_column, to_column) - 1]
        bottom, top = a[1] + 0.5, -0.7
        way: tuple[Point, ...] = (a, (a[0], bottom), (gap, bottom), (gap, top))
        if b[1] < 1:
            return (*way, (b[0], top), b)
        side = b[0] - _SIDE
        return (*way, (side, top), (side, b[1] - 0.7), b)
    if to_row <= from_row:  # back to a layer that is used again
        side = max(a[0], b[0]) + _SIDE
        return (a, (side, a[1]), (side, b[1]), b)
    if to_row - from_row == 1 or not _blocked(a, b, placement):
        return (a, b)
    side = min(a[0], b[0]) - _SIDE
    return (a, (side, a[1] + 0.7), (side, b[1] - 0.7), b)


def _column(row: int, placement: Placement) -> int:
    return sum(1 for start in placement.breaks if start <= row) - 1


def _blocked(a: Point, b: Point, placement: Placement) -> bool:
    for x, y in placement.positions.values():
        if a[1] < y < b[1] and abs(a[0] + (b[0] - a[0]) * (y - a[1]) / (b[1] - a[1]) - x) < _SIDE:
            return True
    return False
