"""Trial narrowing: does the network really run with fewer channels? Asked before width is offered, on meta tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advisor.coupling.structure import Coupling

if TYPE_CHECKING:
    from advisor.network import Network


def tried(network: Network) -> Coupling:
    """`network.coupling` after a trial; groups that would break the network are frozen. Kept with the network."""
    return network.coupling
