"""What each layer may become."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import networkx as nx

from advisor.network import Layer, Network
from advisor.patterns.base import DENSITIES, pattern
from advisor.patterns.option import DENSE, Option


def candidates(
    network: Network,
    names: Sequence[str],
    *,
    include_ends: bool = False,
    densities: Sequence[float] = DENSITIES,
) -> dict[str, tuple[Option, ...]]:
    """Every sparsifiable layer → its options, dense first, then pattern by pattern, densest first.

    Args:
        network: what was analysed.
        names: patterns to offer, in this order. "dense" is always offered; "width" is added by
            `advisor.planning.menu.width`, since its options belong to coupled layers together.
        include_ends: offer them also to the layers of `end_layers`.
        densities: the grid; n:m offers those of its ratios that stand in it.

    Raises:
        PatternError: an unknown name.
    """
    patterns = [found for name in dict.fromkeys(names) if (found := pattern(name)).name not in ("dense", "width")]
    ends = {} if include_ends else end_layers(network)
    return {
        layer.name: (
            DENSE,
            *(o for p in patterns if layer.name not in ends for o in p.options(layer, densities)),
        )
        for layer in network.sparsifiable
    }


def end_layers(network: Network) -> dict[str, str]:
    """Layers that stay dense unless asked, and why.

    These are the layers that a network input reaches through nothing but normalisation (the image convolution: three
    inputs leave nothing to choose from, and everything hangs on them), and the classifier: linear layers, and
    convolutions of a single tap, whose output is the network's. Concatenation may follow them (the heads of a
    detector), an addition may not (the last block of a headless residual network is no classifier).
    """
    uses: dict[str, list[str]] = {}
    for node, data in network.graph.nodes(data=True):
        uses.setdefault(data["of"], []).append(node)
    found: dict[str, str] = {}
    for layer in network.sparsifiable:
        nodes = uses.get(layer.name, [])
        if any(all(_normalises(network.graph, n) for n in nx.ancestors(network.graph, node)) for node in nodes):
            found[layer.name] = "reads the network's input"
        elif _classifies(layer) and any(_is_last(network.graph, node) for node in nodes):
            found[layer.name] = "is the network's classifier"
    return found


def _classifies(layer: Layer) -> bool:
    return layer.kind == "linear" or (layer.is_conv and all(size == 1 for size in layer.kernel))


def _normalises(graph: nx.DiGraph[Any], node: str) -> bool:
    return "norm" in graph.nodes[node]["kind"]


def _is_last(graph: nx.DiGraph[Any], node: str) -> bool:
    return all(
        not graph.nodes[n]["of"] and graph.nodes[n]["kind"] in ("cat", "concat", "stack")
        for n in nx.descendants(graph, node)
    )
