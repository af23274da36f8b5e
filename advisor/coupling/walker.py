"""What happens to channel names on the way through a network: joining, mixing, freezing, and reaching parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from advisor.coupling.labels import Labels, lift, reshape, shrink
from advisor.coupling.structure import Cut, Edges, LayerUse, Nodes
from advisor.coupling.ties import Ties
from advisor.network import Layer, OpGraph, Shape

# Position arrays of a parameter, one per axis of it: which index along that axis each element came from.
Tracks = dict[str, tuple[Labels, ...]]
_LARGEST_OUTER = 4096  # pairs of channels that are still worth a name each


@dataclass(slots=True)
class Static:
    """A Value that depends on parameters and constants alone. `tracks` is empty where its elements lost their place."""

    tracks: Tracks = field(default_factory=dict)


class Walker:
    """The state of one walk. `labels` holds activations, `statics` everything that depends on no input."""

    def __init__(self, graph: OpGraph, layers: Mapping[str, Layer], aliases: Mapping[str, str]) -> None:
        self.graph = graph
        self.layers = layers  # canonical weight parameter → layer
        self.owned = set(layers)  # weights that may shrink along two axes at once
        self.ties = Ties()
        self.labels: dict[int, Labels] = {}
        self.inputs: dict[int, Labels] = {}  # as they came, whatever is written into them later
        self.statics: dict[int, Static] = {}
        self.steps: list[Edges | LayerUse] = []
        self.sources: list[Nodes] = []
        self.spread: dict[int, Shape] = {}  # Value that was expanded → its shape before, with leading ones
        self.cuts: list[Cut] = []
        self.frozen: list[tuple[Nodes, str]] = []
        self.pieces: list[tuple[list[Nodes], bool]] = []  # (pieces of one axis, must they stay equally large?)
        self.tables: list[Labels] = []  # (rows, columns) that a reshape made of one axis
        self.together: list[Nodes] = []  # nodes that share one factor without being read by one layer
        self.sizes: list[tuple[str, str, Nodes]] = []  # (module, attribute, nodes): a size kept as a plain number
        self.fixed: set[str] = set()  # parameters that some operator reads whole
        self.parameter_shapes: dict[str, Shape] = {}
        for value in graph.values:
            if value.origin in ("parameter", "buffer") and value.name is not None:
                name = aliases.get(value.name, value.name)
                self.statics[value.index] = Static({name: _positions(value.shape)})
                self.parameter_shapes[name] = value.shape
            elif value.origin not in ("op", "input"):
                self.statics[value.index] = Static()

    def beside(self, other: Walker) -> None:
        """Makes this walk, through another run of the same module, tie and freeze the channels of `other`.

        The steps stay its own. Channels of both runs meet where a parameter's axis follows them.
        """
        self.ties, self.cuts, self.frozen, self.fixed = other.ties, other.cuts, other.frozen, other.fixed
        self.pieces, self.tables, self.together, self.sizes = other.pieces, other.tables, other.together, other.sizes

    def shape(self, value: int) -> Shape:
        return self.graph.values[value].shape

    # -- making nodes ------------------------------------------------------------------------------------------------

    def source(self, reason: str) -> Labels:
        """One node that is alive by itself and cannot be narrowed."""
        node = self.ties.new(1)
        self.sources.append(node)
        self.freeze(node, reason)
        return node

    def freeze(self, nodes: Labels, reason: str) -> None:
        self.frozen.append((np.unique(nodes), reason))

    def edges(self, source: Nodes, target: Nodes, *, tie: bool) -> None:
        source, target = (np.ascontiguousarray(side).ravel() for side in np.broadcast_arrays(source, target))
        self.steps.append(Edges(source=source, target=target, tie=tie))
        if tie:
            self.ties.union(source, target)

    def hub(self, operands: Sequence[Labels]) -> Nodes:
        """(1,) a node that every given label flows into; the label itself where there is but one."""
        nodes = np.unique(np.concatenate([np.unique(labels) for labels in operands])) if operands else self.ties.new(0)
        if len(nodes) == 1:
            return nodes
        node = self.ties.new(1)
        if len(nodes):
            self.edges(nodes, node, tie=False)
        else:
            self.sources.append(node)
        return node

    def mix(self, values: Sequence[int], reason: str) -> Nodes:
        """(1,) a frozen node for the outcome of an operator that channels cannot be followed through."""
        operands = [self.labels[v] for v in values if v in self.labels]
        for labels in operands:
            self.freeze(labels, reason)
        node = self.hub(operands)
        self.freeze(node, reason)
        return node

    def activation(self, value: int) -> Labels:
        """The labels of a Value; a constant that stands where an activation is expected gets a node of its own."""
        if value not in self.labels:
            rank = len(self.shape(value))
            self.labels[value] = self.source("a constant of fixed size").reshape((1,) * rank)
        return self.labels[value]

    def join(self, operands: Sequence[tuple[Labels, Shape]]) -> Labels:
        """The labels of an elementwise outcome: what meets on a common axis is tied, what broadcasts is not."""
        rank = max(labels.ndim for labels, _ in operands)
        arrays = [lift(labels, rank) for labels, _ in operands]
        if all(np.array_equal(arrays[0], other) for other in arrays[1:]):
            return arrays[0]
        shape = np.broadcast_shapes(*(array.shape for array in arrays))
        if prod(shape) > max(_LARGEST_OUTER, *(array.size for array in arrays)):
            for array in arrays:
                self.freeze(array, "an outer product of channels")
            return self.hub(arrays).reshape((1,) * rank)
        flat = [np.broadcast_to(array, shape).ravel() for array in arrays]
        key = flat[0]
        for other in flat[1:]:
            key = np.unique(key, return_inverse=True)[1] * self.ties.count + other
        _, first, places = np.unique(key, return_index=True, return_inverse=True)
        target = self.ties.new(len(first))
        for row, (_, own) in zip(flat, operands, strict=True):
            full = (1,) * (rank - len(own)) + tuple(own)
            # An operand without any of the labelled axes is spread over all channels, and ties none of them.
            tie = prod(shape) == 1 or any(n > 1 and m > 1 for n, m in zip(shape, full, strict=True))
            self.edges(row[first], target, tie=tie)
        return target[places.reshape(shape)]

    # -- parameters --------------------------------------------------------------------------------------------------

    def cut(self, value: int, axis: int, nodes: Nodes, reason: str) -> None:
        """Says that `nodes` (size of `axis`) stand along one axis of a static Value, mostly a layer's weight."""
        shape = [1] * len(self.shape(value))
        shape[axis] = len(nodes)
        self.align(value, nodes.reshape(shape), reason)

    def align(self, value: int, labels: Labels, reason: str) -> None:
        """A static Value meets labelled data elementwise: finds the axes of its parameters that follow the channels."""
        self.align_as(value, self.shape(value), labels, reason)

    def align_as(self, value: int, own: Sequence[int], labels: Labels, reason: str) -> None:
        """The same for a static Value that the operator reads as if it had the shape `own`."""
        before = self.shape(value)
        rank = max(labels.ndim, len(own))
        labels, own = lift(labels, rank), (1,) * (rank - len(own)) + tuple(own)
        shared = [a for a in range(rank) if labels.shape[a] > 1 and own[a] > 1]
        if not shared:
            return
        tracks = {
            name: tuple(lift(reshape(x, before, own), rank) for x in axes)
            for name, axes in self.statics[value].tracks.items()
        }
        if not tracks:
            self.freeze(labels, reason)
        for name, axes in tracks.items():
            found = [
                Cut(name=name, axis=axis, nodes=nodes)
                for axis, places in enumerate(axes)
                if any(places.shape[a] > 1 for a in shared)
                and (nodes := self._along(places, labels, self.parameter_shapes[name][axis])) is not None
            ]
            self.cuts.extend(found)
            if not found:
                self.freeze(labels, reason)

    def _along(self, places: Labels, labels: Labels, size: int) -> Nodes | None:
        """The node at each position along an axis, or None where a position meets several channels or none."""
        places, labels = np.broadcast_arrays(places, labels)
        flat, nodes = places.ravel(), labels.ravel()
        result = np.full(size, -1, dtype=np.int64)
        result[flat] = nodes
        if (result < 0).any() or (self.ties.find(nodes) != self.ties.find(result)[flat]).any():
            return None
        return result

    # -- layers ------------------------------------------------------------------------------------------------------

    def inputs_along(self, value: int, axis: int, size: int, reason: str) -> Nodes:
        """(size,) the node behind each channel of an activation that a layer reads along `axis`."""
        labels = self.activation(value)
        axis %= labels.ndim
        rows = np.moveaxis(labels, axis, 0).reshape(labels.shape[axis], -1)
        if rows.shape[1] == 1:
            return np.broadcast_to(rows[:, 0], (size,)).copy()
        if rows.shape[0] == 1:
            # The layer works along another axis than the channels, once for each of them.
            self.freeze(labels, reason)
            return np.broadcast_to(self.hub([labels]), (size,)).copy()
        # One channel whose places on the map have several names: they become one.
        nodes = self.ties.new(size)
        self.edges(rows, nodes[:, None], tie=True)
        return nodes

    def use(self, layer: str, inputs: Nodes, outputs: Nodes) -> None:
        self.steps.append(LayerUse(layer=layer, inputs=inputs, outputs=outputs))


def _positions(shape: Shape) -> tuple[Labels, ...]:
    rank = len(shape)
    return tuple(
        shrink(np.arange(size, dtype=np.int64).reshape([size if a == axis else 1 for a in range(rank)]))
        for axis, size in enumerate(shape)
    )
