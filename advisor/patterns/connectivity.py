"""Dead channels: connections are exchanged, and the hopeless ones dropped, until each lies on a way through."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from advisor.coupling.structure import ChannelGraph, Edges
from advisor.errors import PatternError
from advisor.network import Layer
from advisor.patterns.draw import Bools, Floats
from advisor.patterns.option import DENSE, Option
from advisor.patterns.reach import Usage, Wiring, alive, fed, wiring
from advisor.patterns.relay import relay
from advisor.patterns.rewire import Use, cover, feed

Uses = dict[str, list[Use]]
Move = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What `repair` changed, enough to repeat it on freshly drawn connections with `apply_repair`.

    Attributes:
        rewired: layer → (unit row, input given up, input taken). A row is an output (channel) or a block of outputs
            (group); inputs count within the row's group.
        dropped: layer → rows that were emptied, since nothing can read them or nothing can feed them (channel only).
        notes: what could not be mended, one line each.
    """

    rewired: Mapping[str, tuple[Move, ...]]
    dropped: Mapping[str, tuple[int, ...]]
    notes: tuple[str, ...] = ()


def repair(
    graph: ChannelGraph,
    layers: Mapping[str, Layer],
    chosen: Mapping[str, tuple[Option, Bools]],
    scores: Mapping[str, Floats] | None = None,
) -> tuple[dict[str, Bools], Repair]:
    """Rewires `channel` and `group` layers so that every kept connection lies on a path from a source to a sink.

    Changpinyo, Sandler and Zhmoginov 2017, section 5.1: no connection may enter or leave a dead filter. A channel is
    used if any consumer uses it (branches, residual adds, concatenations). Every row keeps exactly its number of
    inputs: an unused channel takes the place of an input that is read elsewhere, too; with `scores` the exchange that
    loses least. Going backwards every consumer is settled before its inputs are, so rewiring covers as many channels
    as there are connections to spare, by chains of exchanges where one is not enough; only what is then still unread,
    or unfed, is dropped, to a fixed point.

    Layers without an entry in `chosen` are dense. Patterns over single weights, n:m, block and width stay as they
    are. A layer that the graph does not connect with input or output even when dense is left alone.

    Args:
        graph: of the network.
        layers: name → layer, for every layer in the graph.
        chosen: layer → its option and connections in unit shape.
        scores: layer → worth of each unit, same shape; layers without an entry count all connections alike.

    Returns:
        The connections of every layer in `chosen` (new arrays), and what was changed.

    Raises:
        PatternError: connections that do not fit their layer.
    """
    wirings = {}
    for step in graph.steps:
        if not isinstance(step, Edges) and step.layer not in wirings:
            option, connections = chosen.get(step.layer, (DENSE, None))
            worth = scores.get(step.layer) if scores else None
            wirings[step.layer] = wiring(layers[step.layer], option, connections, worth)
    _leave_alone(graph, layers, wirings)
    uses: Uses = {}
    for index, step in enumerate(graph.steps):
        if not isinstance(step, Edges):
            uses.setdefault(step.layer, []).append((index, step))
    while _forwards(graph, wirings, uses) | _backwards(graph, wirings, uses):
        pass
    result, rewired, dropped = {}, {}, {}
    for name, (_, before) in chosen.items():
        wired = wirings.get(name)
        result[name] = wired.units if wired is not None and wired.free else before.copy()
        moves, emptied = _difference(before, result[name])
        if moves:
            rewired[name] = moves
        if emptied:
            dropped[name] = emptied
    return result, Repair(rewired=rewired, dropped=dropped, notes=tuple(_notes(graph, wirings, uses)))


def apply_repair(connections: Bools, rewired: Iterable[Iterable[int]], dropped: Iterable[int]) -> Bools:
    """Repeats a repair on the connections that the seed draws; they are copied.

    Raises:
        PatternError: a move that does not fit the connections, so the plan is not the one that was saved.
    """
    result, rewired, dropped = connections.copy(), list(rewired), list(dropped)
    if not rewired and not dropped:
        return result
    if result.ndim != 2:
        raise PatternError(
            f"connections of shape {result.shape} cannot be rewired; only those of channel and group can"
        )
    rows, columns = result.shape
    for row, given_up, taken in rewired:
        inside = 0 <= row < rows and 0 <= given_up < columns and 0 <= taken < columns
        if not inside or not result[row, given_up] or result[row, taken]:
            raise PatternError(
                f"rewired ({row}, {given_up}, {taken}) does not fit connections of shape {result.shape}: "
                "expected (row, kept input, input not kept)"
            )
        result[row, given_up], result[row, taken] = False, True
    for row in dropped:
        if not 0 <= row < rows:
            raise PatternError(f"dropped row {row} is outside 0..{rows - 1}")
        result[row] = False
    return result


def _leave_alone(graph: ChannelGraph, layers: Mapping[str, Layer], wirings: dict[str, Wiring]) -> None:
    dense = {name: wiring(layers[name]) for name in wirings}
    reached, used = alive(graph, dense), Usage(graph, dense).count > 0
    joined = {
        step.layer
        for step in graph.steps
        if not isinstance(step, Edges) and reached[step.inputs].any() and used[step.outputs].any()
    }
    for name, wired in wirings.items():
        if name not in joined:
            wired.free = wired.droppable = False


def _forwards(graph: ChannelGraph, wirings: dict[str, Wiring], uses: Uses) -> bool:
    """Gives rows that read a dead channel a live one. True where something changed."""
    found = np.zeros(graph.nodes, dtype=np.bool_)
    found[graph.sources] = True
    changed = False
    for index, step in enumerate(graph.steps):
        if isinstance(step, Edges):
            found[step.target[found[step.source]]] = True
            continue
        wired = wirings[step.layer]
        if wired.free and index == uses[step.layer][-1][0]:
            changed |= feed(wired, np.logical_or.reduce([found[use.inputs] for _, use in uses[step.layer]]))
        found[step.outputs[fed(wired, found[step.inputs])]] = True
    return changed


def _backwards(graph: ChannelGraph, wirings: dict[str, Wiring], uses: Uses) -> bool:
    """Lets unread channels be read, from the output on; then empties the rows that nothing reads."""
    reached = alive(graph, wirings)
    usage = Usage(graph, wirings)
    changed = False
    for index in reversed(range(len(graph.steps))):
        usage.visit(index)
        step = graph.steps[index]
        if not isinstance(step, Edges) and wirings[step.layer].free:
            changed |= cover(usage, index, uses[step.layer], reached)
    if relay(usage, uses, reached):
        return True  # rows have become live: what they read is to be settled before anything is given up
    for name, wired in wirings.items():
        if wired.droppable:
            live = np.logical_or.reduce([usage.counted[index] for index, _ in uses[name]])
            hopeless = ~live & wired.units.any(axis=1)
            wired.units[hopeless] = False
            changed |= bool(hopeless.any())
    return changed


def _difference(before: Bools, after: Bools) -> tuple[tuple[Move, ...], tuple[int, ...]]:
    if before.ndim != 2 or before.shape != after.shape or np.array_equal(before, after):
        return (), ()
    rows = np.flatnonzero((before != after).any(axis=1))
    moves: list[Move] = []
    for row in rows:
        if after[row].any():
            gone, come = np.flatnonzero(before[row] & ~after[row]), np.flatnonzero(after[row] & ~before[row])
            moves += [(int(row), int(a), int(b)) for a, b in zip(gone, come, strict=True)]
    return tuple(moves), tuple(int(row) for row in rows if not after[row].any())


def _notes(graph: ChannelGraph, wirings: dict[str, Wiring], uses: Uses) -> list[str]:
    reached, used = alive(graph, wirings), Usage(graph, wirings).count > 0
    notes = []
    for name, wired in wirings.items():
        kept = np.repeat(wired.units.any(axis=1), wired.block)
        unread = int((kept & ~np.logical_or.reduce([used[use.outputs] for _, use in uses[name]])).sum())
        given = np.logical_or.reduce([reached[use.inputs] for _, use in uses[name]])
        dead = ~given.reshape(wired.layer.groups, 1, -1)
        unfed = int((wired.grouped & dead).any(axis=-1).sum())
        if unread:
            notes.append(f"layer {name}: {unread} of {wired.layer.out_channels} outputs are read by nothing")
        if unfed:
            notes.append(
                f"layer {name}: {unfed} of {len(wired.units)} rows of connections read inputs without a signal"
            )
    return notes
