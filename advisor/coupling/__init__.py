"""Which channels must live or die together, found by letting the network's own data movement carry their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advisor.coupling.structure import (
    ROUNDINGS,
    ChannelGraph,
    Coupling,
    Cut,
    Edges,
    LayerUse,
    Segment,
    WidthGroup,
    kept_channels_of,
)

if TYPE_CHECKING:
    from advisor.network import Network

__all__ = [
    "ROUNDINGS",
    "ChannelGraph",
    "Coupling",
    "Cut",
    "Edges",
    "LayerUse",
    "Segment",
    "WidthGroup",
    "channel_graph",
    "couple",
    "kept_channels_of",
]


def couple(network: Network) -> Coupling:
    """Follows every channel of `network` through its operators and groups what must share one width factor.

    Only recorded operators are read; where evaluation leaves parameters unreached (auxiliary heads), a training pass
    on meta tensors is recorded, too. What cannot be followed is frozen, with the reason in
    `WidthGroup.frozen`. `network.coupling` keeps the result.
    """
    from advisor.coupling.graph import walk
    from advisor.coupling.groups import width_groups
    from advisor.coupling.training import walk_training

    walker = walk(network)
    walk_training(network, walker)
    return width_groups(network, walker)


def channel_graph(network: Network) -> ChannelGraph:
    """The graph of channels alone: what feeds what, for the repair of dead channels."""
    return network.coupling.graph
