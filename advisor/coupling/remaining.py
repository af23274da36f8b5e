"""The graph of channels as narrowing leaves it."""

from __future__ import annotations

import numpy as np

from advisor.coupling.keep import Flags
from advisor.coupling.structure import ChannelGraph, Coupling, Edges, LayerUse, Nodes


def remaining_graph(coupling: Coupling, flags: Flags) -> ChannelGraph:
    """The network's graph without the channels that go, its nodes numbered anew.

    Every layer use then has the inputs and outputs of the narrowed layer, in order, so that what holds for a network's
    graph and its layers holds for this one and the narrowed layers.

    Args:
        coupling: of the network.
        flags: (classes,) which channel classes stay (`coupling.keep.kept_classes`).
    """
    graph = coupling.graph
    stays = flags[coupling.class_of]
    if stays.all():
        return graph
    number = np.cumsum(stays) - 1

    def of(nodes: Nodes) -> Nodes:
        found: Nodes = number[nodes[stays[nodes]]]
        return found

    steps: list[Edges | LayerUse] = []
    for step in graph.steps:
        if isinstance(step, Edges):
            both = stays[step.source] & stays[step.target]
            source, target = number[step.source[both]], number[step.target[both]]
            steps.append(Edges(source=source, target=target, tie=step.tie))
        else:
            steps.append(LayerUse(layer=step.layer, inputs=of(step.inputs), outputs=of(step.outputs)))
    return ChannelGraph(nodes=int(stays.sum()), steps=tuple(steps), sources=of(graph.sources), sinks=of(graph.sinks))
