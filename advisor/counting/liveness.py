"""Which activations are in memory at the same time."""

from __future__ import annotations

from dataclasses import dataclass

from advisor.counting.arguments import operands
from advisor.counting.lineage import Lineage
from advisor.network import OpGraph


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """Memory of one activation: written at operator `start` (−1: the network's input), last read at `end`."""

    value: int  # the Value that first wrote it
    bytes: int
    start: int
    end: int


def storages(graph: OpGraph) -> tuple[Storage, ...]:
    """Every activation's memory with its lifetime; views and in-place results share their base's.

    Parameters, buffers and constants, and what is computed from them alone, are not activations; memory that started
    as a constant is one from its making on, if data is written into it later.
    """
    lineage = Lineage(graph, {})
    made: dict[int, int] = {}  # memory → the operator that made it
    start: dict[int, int] = dict.fromkeys(graph.inputs, -1)
    end: dict[int, int] = dict.fromkeys(graph.inputs, -1)
    for op in graph.ops:
        lineage.follow(op)
        for index in op.outputs:
            made.setdefault(lineage.home(index), op.index)
        for index in (*operands(op), *op.outputs):
            owner = lineage.home(index)
            if owner not in start:
                if graph.values[owner].origin != "op" or lineage.is_static(index):
                    continue
                start[owner] = made[owner]
            end[owner] = op.index
    for index in graph.outputs:
        if lineage.home(index) in start:
            end[lineage.home(index)] = len(graph.ops)
    return tuple(
        Storage(value=index, bytes=graph.values[index].bytes, start=start[index], end=end[index]) for index in start
    )


def peak_activation_bytes(graph: OpGraph) -> int:
    """The largest sum of activations alive at one operator, its inputs and outputs included; B for `graph`'s batch."""
    steps = len(graph.ops) + 2
    change = [0] * (steps + 1)
    for storage in storages(graph):
        change[storage.start + 1] += storage.bytes
        change[storage.end + 2] -= storage.bytes
    peak = alive = 0
    for step in change:
        alive += step
        peak = max(peak, alive)
    return peak
