"""What coupling finds: the graph of channels, and the width groups of channels that share one factor. Plain arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from advisor.errors import PatternError, unknown

Nodes = NDArray[np.int64]
Rounding = Literal["ceil", "multiple8"]
ROUNDINGS: tuple[Rounding, ...] = ("ceil", "multiple8")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Edges:
    """Channels that flow into other channels without a layer between.

    `source[i]` flows into `target[i]`. With `tie` both are the same channel as far as width goes (an elementwise
    join): neither can go without the other. Without it the target only depends on the source (a mean over channels).
    A target is alive if any of its sources is; a source is used if any of its targets is.
    """

    source: Nodes
    target: Nodes
    tie: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerUse:
    """One call of a sparsifiable layer: the node behind each input channel, and behind each output channel.

    Nodes may repeat among the inputs (a flattened map: every position of one channel). In layers that could not be
    looked into (fused attention) all inputs, and all outputs, are one node.
    """

    layer: str
    inputs: Nodes  # (in_channels,) over all groups
    outputs: Nodes  # (out_channels,)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChannelGraph:
    """Channels as numbered nodes, and what happens between them, in order of execution.

    `sources` are alive without any layer (image, embeddings, constants); `sinks` are the network's outputs. Steps
    form no cycle: whatever a step reads was made before it.
    """

    nodes: int
    steps: tuple[Edges | LayerUse, ...]
    sources: Nodes
    sinks: Nodes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cut:
    """An axis of a parameter or buffer that follows channels.

    `nodes[i]` is the node behind position i. Where the weight of a grouped convolution is cut along its grouped axis,
    `groups` > 1 and the positions of all groups stand one after the other: (groups * size,).
    """

    name: str  # dotted name
    axis: int
    nodes: Nodes
    groups: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Channels that are thinned out together: any `kept` of them may stay. `channels` numbers channel classes."""

    channels: tuple[int, ...]
    frozen: str = ""

    def kept(self, level: float, rounding: str = "ceil") -> int:
        """How many channels stay at a level in (0, 1]."""
        return len(self.channels) if self.frozen else kept_channels_of(level, len(self.channels), rounding)


def kept_channels_of(level: float, channels: int, rounding: str = "ceil") -> int:
    """How many of `channels` ≥ 1 stay.

    "ceil" keeps ⌈level·n⌉. "multiple8" floors level·n to a multiple of 8, at least 8 and at most n. Level 1 keeps all.
    Both rules are those of Changpinyo, Sandler and Zhmoginov (2017): the text's depth multiplier, and the one that
    their published table follows.

    Raises:
        PatternError: a level outside (0, 1], or an unknown rounding.
    """
    if not 0 < level <= 1:
        raise PatternError(f"width level {level} is outside (0, 1]; choose a kept share such as 0.5")
    if rounding == "ceil":
        return max(1, ceil(level * channels - 1e-9))
    if rounding == "multiple8":
        return channels if level == 1 else min(channels, max(8, int(level * channels / 8 + 1e-9) * 8))
    raise PatternError(unknown("rounding", rounding, ROUNDINGS))


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthGroup:
    """Everything that must share one width factor.

    `layers_in` read these channels, `layers_out` produce them. `channels` counts distinct channels over all segments.
    `frozen` says why nothing of the group can be narrowed, and is empty otherwise.
    """

    name: str  # its first producing layer; "input", or the parameter behind it, where no layer produces it
    layers_in: tuple[str, ...]
    layers_out: tuple[str, ...]
    channels: int
    frozen: str
    segments: tuple[Segment, ...] = field(default=(), repr=False)

    def kept(self, level: float, rounding: str = "ceil") -> int:
        """Distinct channels that stay at a level in (0, 1]."""
        return sum(segment.kept(1.0 if self.frozen else level, rounding) for segment in self.segments)


@dataclass(frozen=True, kw_only=True, eq=False)
class Coupling:
    """The channels of a network and what ties them.

    Attributes:
        graph: channels as nodes.
        groups: the width groups, in order of execution; frozen ones are listed too, with the reason.
        class_of: (nodes,) the channel class of every node: nodes of one class live and die together.
        group_of: (classes,) the width group of every class, −1 where no layer or parameter follows it.
        cuts: the axes of parameters and buffers that follow channels.
        sizes: (module, attribute, nodes) where a module keeps the number of channels as a plain number.
        labels: Value index → nodes, broadcastable to the Value's shape, for every activation.
        sides: layer → (input group, output group).
        equal: sets of class arrays that must keep equally many channels at a level (halves of a chunk, conv groups).
    """

    graph: ChannelGraph
    groups: tuple[WidthGroup, ...]
    class_of: Nodes
    group_of: Nodes
    cuts: tuple[Cut, ...]
    sizes: tuple[tuple[str, str, Nodes], ...]
    labels: Mapping[int, Nodes] = field(repr=False)
    sides: Mapping[str, tuple[int | None, int | None]] = field(repr=False)
    equal: tuple[tuple[Nodes, ...], ...] = field(default=(), repr=False)

    def of(self, layer: str) -> tuple[int | None, int | None]:
        """Indices of the width groups on a layer's input and output side (None: the image, or nothing to follow)."""
        return self.sides.get(layer, (None, None))

    def named(self, group: str) -> int:
        """The index of the group called `group`.

        Raises:
            PatternError: there is none.
        """
        for index, candidate in enumerate(self.groups):
            if candidate.name == group:
                return index
        raise PatternError(unknown("width group", group, [g.name for g in self.groups]))

    def channels_at(self, group: int, level: float, rounding: str = "ceil") -> int:
        """Distinct channels of a group that stay at a level in (0, 1]; all of them where the group is frozen."""
        return self.groups[group].kept(level, rounding)
