"""Do the kept channels arrive where the narrowed weights expect them? Two walks, side by side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from advisor.coupling.keep import Flags
from advisor.coupling.structure import Coupling, Edges, LayerUse, Nodes
from advisor.coupling.walker import Walker

_Marks = NDArray[np.uint64]  # (nodes,) one number per channel; the same channel has the same number in both walks


def arrives(dense: Walker, narrow: Walker, coupling: Coupling, flags: Flags, *, strict: bool) -> str:
    """Compares a narrowed network's walk with the whole network's; empty where all is well.

    Each layer of the narrowed network must read the marks of the channels that the whole one reads and that stay.

    Args:
        dense: the walk through the whole network, recorded as the narrowed one was.
        narrow: the walk through the narrowed network.
        coupling: what the narrowing followed.
        flags: (classes,) the channel classes that stayed.
        strict: different steps are a fault; otherwise (control flow that depends on data) the comparison ends there.
    """
    kept = {
        step.layer: (flags[coupling.class_of[step.inputs]], flags[coupling.class_of[step.outputs]])
        for step in coupling.graph.steps
        if isinstance(step, LayerUse)
    }
    left = np.zeros(dense.ties.count, dtype=np.uint64)
    right = np.zeros(narrow.ties.count, dtype=np.uint64)
    if not _mark_sources(dense, narrow, coupling, flags, left, right):
        return "a trial with fewer channels took another way" if strict else ""
    for number, (before, after) in enumerate(zip(dense.steps, narrow.steps, strict=False)):
        if isinstance(before, Edges) and isinstance(after, Edges) and before.tie == after.tie:
            for marks, step in ((left, before), (right, after)):
                _mark_targets(marks, step, number)
        elif isinstance(before, LayerUse) and isinstance(after, LayerUse) and before.layer == after.layer:
            stays_in, stays_out = kept[before.layer]
            if not np.array_equal(left[before.inputs][stays_in], right[after.inputs]):
                return f"with fewer channels, layer {before.layer} would read other channels than it should"
            left[before.outputs] = _mix(number, np.arange(len(before.outputs), dtype=np.uint64))
            right[after.outputs] = left[before.outputs][stays_out]
        elif strict:
            return "a trial with fewer channels took another way"
        else:
            return ""
    if strict and len(dense.steps) != len(narrow.steps):
        return "a trial with fewer channels took another way"
    shapes = [[walker.shape(v) for v in walker.graph.outputs] for walker in (dense, narrow)]
    if strict and shapes[0] != shapes[1]:
        return f"with fewer channels, the network's output has another shape: {shapes[1]} instead of {shapes[0]}"
    for old, new in zip(dense.graph.outputs, narrow.graph.outputs, strict=False):
        ends = dense.labels.get(old), narrow.labels.get(new)
        if ends[0] is not None and ends[1] is not None and not np.array_equal(left[ends[0]], right[ends[1]]):
            return "with fewer channels, the network's output would be made of other channels"
    return ""


def _mix(salt: int, marks: _Marks) -> _Marks:
    """A pseudo-random number per mark (splitmix64), different for every salt."""
    with np.errstate(over="ignore"):
        z = marks * np.uint64(0x9E3779B97F4A7C15) + np.uint64((salt + 1) * 0xD1342543DE82EF95 % 2**64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: _Marks = z ^ (z >> np.uint64(31))
    return mixed


def _mark_targets(marks: _Marks, step: Edges, number: int) -> None:
    # A tied target is known by all that it joins, and so is one that a single channel flows into. Any other is only
    # known by where it was made, since how many channels flow into it is what narrowing changes.
    if step.tie:
        with np.errstate(over="ignore"):
            np.add.at(marks, step.target, _mix(number, marks[step.source]))
    else:
        source = np.unique(step.source)
        marks[np.unique(step.target)] ^= _mix(number, marks[source] if len(source) == 1 else np.zeros(1, np.uint64))


def _mark_sources(dense: Walker, narrow: Walker, coupling: Coupling, flags: Flags, left: _Marks, right: _Marks) -> bool:
    if len(dense.sources) != len(narrow.sources):
        return False
    for number, (before, after) in enumerate(zip(dense.sources, narrow.sources, strict=True)):
        marks = _mix(-2 - number, np.arange(len(before), dtype=np.uint64))
        stays = _stays(dense, coupling, flags, before)
        if int(stays.sum()) != len(after):
            return False
        left[before], right[after] = marks, marks[stays]
    return True


def _stays(dense: Walker, coupling: Coupling, flags: Flags, nodes: Nodes) -> Flags:
    """Which of the channels of an embedding stay; other sources always do."""
    if len(nodes) > 1:
        for cut in dense.cuts:
            if cut.nodes is nodes or np.array_equal(cut.nodes, nodes):
                for own in coupling.cuts:
                    if (own.name, own.axis) == (cut.name, cut.axis):
                        return flags[coupling.class_of[own.nodes]]
    return np.ones(len(nodes), dtype=bool)
