"""Which channels carry a signal, and which are read, through the connections that were kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from advisor.coupling.structure import ChannelGraph, Edges, LayerUse
from advisor.errors import PatternError
from advisor.network import Layer
from advisor.patterns.base import pattern
from advisor.patterns.draw import Bools, Floats
from advisor.patterns.layout import inputs_of, taps_of
from advisor.patterns.option import DENSE, Option

Counts = npt.NDArray[np.int64]


@dataclass(slots=True, kw_only=True, eq=False)
class Wiring:
    """One layer's connections between channels; `units` is changed in place while it is repaired.

    Attributes:
        layer: whose they are.
        units: (unit rows, inputs of a group). A unit row is an output, a block of outputs that share their inputs, or,
            in a dense layer, all outputs of a group.
        block: outputs per unit row.
        free: the row may exchange inputs (channel, group).
        droppable: the row may be emptied (channel).
        scores: like `units`, what each connection is worth; None: all the same.
    """

    layer: Layer
    units: Bools
    block: int
    free: bool = False
    droppable: bool = False
    scores: Floats | None = None

    @property
    def grouped(self) -> Bools:
        """A view of `units`: (groups, unit rows of a group, inputs of a group)."""
        return self.units.reshape(self.layer.groups, -1, self.units.shape[1])

    def live(self, used_outputs: Bools) -> Bools:
        """Unit rows with an output that is used; (out_channels,) → (unit rows,)."""
        rows: Bools = np.logical_or.reduce(used_outputs.reshape(-1, self.block), axis=1)
        return rows


def wiring(
    layer: Layer, option: Option = DENSE, connections: Bools | None = None, scores: Floats | None = None
) -> Wiring:
    """The channels that `connections` of `option` join; they are copied.

    Raises:
        PatternError: the connections do not have the option's unit shape.
    """
    if option.pattern == "dense" or connections is None:
        return Wiring(
            layer=layer,
            units=np.ones((layer.groups, inputs_of(layer)), dtype=np.bool_),
            block=layer.out_channels // layer.groups,
        )
    kind = pattern(option.pattern)
    shape = kind.unit_shape(layer, option)
    if connections.shape != shape or (scores is not None and scores.shape != shape):
        raise PatternError(
            f"layer {layer.name}: connections for {option.label} have shape {connections.shape}, expected {shape}"
        )
    if option.pattern in ("channel", "group"):
        return Wiring(
            layer=layer,
            units=connections.copy(),
            block=layer.out_channels // shape[0],
            free=True,
            droppable=option.pattern == "channel",
            scores=None if scores is None else np.asarray(scores, dtype=np.float64),
        )
    weights = kind.expand(layer, option, connections)
    joined = np.logical_or.reduce(weights.reshape(layer.out_channels, inputs_of(layer), taps_of(layer)), axis=-1)
    return Wiring(layer=layer, units=joined, block=1)


def alive(graph: ChannelGraph, wirings: dict[str, Wiring]) -> Bools:
    """Nodes that a source reaches through kept connections; (nodes,)."""
    found = np.zeros(graph.nodes, dtype=np.bool_)
    found[graph.sources] = True
    for step in graph.steps:
        if isinstance(step, Edges):
            found[step.target[found[step.source]]] = True
        else:
            found[step.outputs[fed(wirings[step.layer], found[step.inputs])]] = True
    return found


def fed(wired: Wiring, given: Bools) -> Bools:
    """Outputs with a live input: (in_channels,) → (out_channels,)."""
    rows = (wired.grouped & given.reshape(wired.layer.groups, 1, -1)).any(axis=-1)
    return np.repeat(rows.reshape(-1), wired.block)


class Usage:
    """How often each node is read by something that reaches a sink.

    `count[n]` sums the live unit rows that read node n, the used targets of its edges, and 1 for a sink: n is used
    where it is positive, and a connection to n can be spared where it is 2 or more. `counted[i]` says which unit rows
    (of a layer use) or edges of step i stand in it, so that what becomes live later can be added.
    """

    def __init__(self, graph: ChannelGraph, wirings: dict[str, Wiring]) -> None:
        self.graph = graph
        self.wirings = wirings
        self.count: Counts = np.zeros(graph.nodes, dtype=np.int64)
        np.add.at(self.count, graph.sinks, 1)
        self.counted: list[Bools] = []
        for step in graph.steps:
            size = len(step.source) if isinstance(step, Edges) else len(wirings[step.layer].units)
            self.counted.append(np.zeros(size, dtype=np.bool_))
        for index in reversed(range(len(graph.steps))):
            self.visit(index)

    def visit(self, index: int) -> None:
        """Adds the rows or edges of one step that have become live since it was last visited."""
        step = self.graph.steps[index]
        if isinstance(step, Edges):
            fresh = (self.count[step.target] > 0) & ~self.counted[index]
            np.add.at(self.count, step.source[fresh], 1)
        else:
            wired = self.wirings[step.layer]
            fresh = wired.live(self.count[step.outputs] > 0) & ~self.counted[index]
            if fresh.any():
                rows = wired.grouped & fresh.reshape(wired.layer.groups, -1, 1)
                np.add.at(self.count, step.inputs, np.count_nonzero(rows, axis=1).reshape(-1))
        self.counted[index] |= fresh

    def move(self, uses: Iterable[tuple[int, LayerUse]], row: int, given_up: int, taken: int) -> None:
        """Follows one exchange of inputs: columns counted over all groups, in every counted use of the layer."""
        for index, step in uses:
            if self.counted[index][row]:
                self.count[step.inputs[given_up]] -= 1
                self.count[step.inputs[taken]] += 1
