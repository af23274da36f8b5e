"""Which activations are in memory at the same time."""

from __future__ import annotations

from dataclasses import dataclass

from advisor.counting.arguments import operands, shared_operand
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

    Parameters, buffers and constants, and what is computed from them alone, are not activations.
    """
    home: dict[int, int] = {}  # Value → Value that owns the memory
    start: dict[int, int] = {}
    end: dict[int, int] = {}
    for index in graph.inputs:
        home[index] = index
        start[index] = end[index] = -1
    for op in graph.ops:
        read = [home[index] for index in operands(op) if index in home]
        for owner in read:
            end[owner] = op.index
        if not read:
            continue
        shared = shared_operand(op)
        for index in op.outputs:
            if shared is not None and shared in home:
                home[index] = home[shared]
            else:
                home[index] = index
                start[index] = op.index
            end[home[index]] = op.index
    for index in graph.outputs:
        if index in home:
            end[home[index]] = len(graph.ops)
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
