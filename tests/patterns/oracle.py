"""An independent look at channels: a plain networkx graph, one node per channel, walked breadth first."""

from __future__ import annotations

from collections.abc import Mapping

import networkx as nx
import numpy as np

from advisor.coupling.structure import ChannelGraph, Edges
from advisor.network import Layer

Kept = Mapping[str, tuple[np.ndarray, int]]  # layer → connections (unit rows, inputs of a group), outputs per unit row


def channels(graph: ChannelGraph, layers: Mapping[str, Layer], kept: Kept) -> nx.DiGraph:
    """Every kept connection and every edge, with "image" before the sources and "answer" after the sinks.

    The outputs of a unit row read the same inputs: they stand behind one node for the row, (step, row).
    """
    drawn = nx.DiGraph()
    drawn.add_nodes_from(range(graph.nodes))
    drawn.add_edges_from(("image", int(n)) for n in graph.sources)
    drawn.add_edges_from((int(n), "answer") for n in graph.sinks)
    for index, step in enumerate(graph.steps):
        if isinstance(step, Edges):
            drawn.add_edges_from(zip(step.source.tolist(), step.target.tolist(), strict=True))
        else:
            for row, _, source, targets in links(step, layers[step.layer], kept):
                drawn.add_edge(source, (index, row))
                drawn.add_edges_from(((index, row), target) for target in targets)
    return drawn


def links(step, layer: Layer, kept: Kept):
    """(unit row, column, input node, output nodes) of every kept connection of one use."""
    per_group = layer.in_channels // layer.groups
    rows, block = kept.get(layer.name, (np.ones((layer.groups, per_group), bool), layer.out_channels // layer.groups))
    for row, column in np.argwhere(rows).tolist():
        group = row * block // (layer.out_channels // layer.groups)
        outputs = step.outputs[row * block : (row + 1) * block].tolist() if column == rows[row].argmax() else []
        yield row, column, int(step.inputs[group * per_group + column]), outputs


def off_the_way(graph: ChannelGraph, layers: Mapping[str, Layer], kept: Kept) -> set[tuple[str, int, int]]:
    """(layer, unit row, column) of kept connections on no path from the image to the answer."""
    drawn = channels(graph, layers, kept)
    fed = {"image"} | nx.descendants(drawn, "image")
    read = {"answer"} | nx.ancestors(drawn, "answer")
    on, seen = set(), set()
    for index, step in enumerate(graph.steps):
        if not isinstance(step, Edges) and step.layer in kept:
            for row, column, source, _ in links(step, layers[step.layer], kept):
                seen.add((step.layer, row, column))
                if source in fed and (index, row) in read:
                    on.add((step.layer, row, column))
    return seen - on
