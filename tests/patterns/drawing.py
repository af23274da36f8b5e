"""Small channel graphs, drawn by hand or at random."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from advisor.coupling.structure import ChannelGraph, Edges, LayerUse
from advisor.network import Layer
from advisor.patterns.base import layer_seed, pattern
from advisor.patterns.option import DENSE, Option
from tests.patterns.layers import layer


class Drawing:
    """Draws a channel graph in order of execution; a value is an array of nodes, one per channel."""

    def __init__(self) -> None:
        self.nodes = 0
        self.steps: list[Edges | LayerUse] = []
        self.layers: dict[str, Layer] = {}
        self.sources: list[int] = []
        self.chosen: dict[str, tuple[Option, np.ndarray]] = {}

    def new(self, channels: int) -> np.ndarray:
        made = np.arange(self.nodes, self.nodes + channels)
        self.nodes += channels
        return made

    def image(self, channels: int = 3) -> np.ndarray:
        made = self.new(channels)
        self.sources += made.tolist()
        return made

    def conv(
        self, given: np.ndarray, outputs: int, option: Option = DENSE, *, groups: int = 1, connections=None, seed=0
    ):
        """A new layer, "l0" the first; its connections are drawn unless they are given."""
        name = f"l{len(self.layers)}"
        self.layers[name] = one = layer("conv2d", outputs, len(given), (1, 1), groups, name)
        if option is not DENSE:
            kind = pattern(option.pattern)
            if connections is None:
                connections = kind.connections(one, option, seed=layer_seed(seed, name))
            self.chosen[name] = (option, np.asarray(connections, dtype=np.bool_))
        return self.again(name, given)

    def again(self, name: str, given: np.ndarray) -> np.ndarray:
        """One more use of a layer."""
        made = self.new(self.layers[name].out_channels)
        self.steps.append(LayerUse(layer=name, inputs=given, outputs=made))
        return made

    def add(self, *values: np.ndarray) -> np.ndarray:
        made = self.new(len(values[0]))
        for value in values:
            self.steps.append(Edges(source=value, target=made, tie=True))
        return made

    def graph(self, *outputs: np.ndarray) -> ChannelGraph:
        sinks = np.unique(np.concatenate(outputs))
        return ChannelGraph(nodes=self.nodes, steps=tuple(self.steps), sources=np.array(self.sources), sinks=sinks)


def channel(density: float) -> Option:
    return Option(pattern="channel", density=density)


@st.composite
def drawings(draw) -> tuple[Drawing, ChannelGraph]:
    """A random network: chains, additions, concatenations, depthwise, grouped and shared layers, flattened maps."""
    made, seed = Drawing(), draw(st.integers(0, 1000))
    values = [made.conv(made.image(), draw(st.sampled_from([4, 8])))]
    for _ in range(draw(st.integers(1, 7))):
        given = draw(st.sampled_from(values))
        kind = draw(st.sampled_from(["conv", "conv", "conv", "residual", "concat", "depthwise", "grouped", "shared"]))
        density = draw(st.sampled_from([0.05, 0.2, 0.4, 0.75]))
        if kind == "conv":
            values.append(made.conv(given, draw(st.sampled_from([2, 4, 8, 12])), channel(density), seed=seed))
        elif kind == "residual":
            values.append(made.add(given, made.conv(given, len(given), channel(density), seed=seed)))
        elif kind == "concat":
            values.append(np.concatenate([given, draw(st.sampled_from(values))]))
        elif kind == "depthwise":
            values.append(made.conv(given, len(given), groups=len(given)))
        elif kind == "grouped" and len(given) % 2 == 0 and len(given) >= 4:
            values.append(made.conv(given, 6, channel(density), groups=2, seed=seed))
        elif kind == "shared":
            first = made.conv(given, len(given), channel(density), seed=seed)
            values.append(made.again(f"l{len(made.layers) - 1}", first))
        if len(values[-1]) > 40:
            values.pop()
    flat = np.repeat(values[-1], draw(st.sampled_from([1, 3])))  # every channel as several inputs of a linear layer
    option = draw(st.sampled_from([DENSE, channel(0.1)]))
    return made, made.graph(made.conv(flat, 5, option, seed=seed))
