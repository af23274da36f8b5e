"""Really smaller tensors: a copy of a module with only the kept channels of every width group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import nn

    from advisor.network import Network
    from advisor.patterns.option import Option

Indices = NDArray[np.int64]


def levels_from_options(network: Network, options: Mapping[str, Option]) -> dict[str, float]:
    """Group name → level, as the width options of the layers say ("in" and "out"); layers without one are at 1.

    Raises:
        PlanError: two layers ask for different levels of one group.
    """
    raise NotImplementedError


def kept_channels(
    network: Network,
    levels: Mapping[str, float],
    rounding: str = "ceil",
    weights: Mapping[str, NDArray[np.floating]] | None = None,
) -> dict[str, tuple[Indices, Indices]]:
    """Layer → (kept input channels, kept output channels), ascending, for every sparsifiable layer.

    Args:
        network: the analysis.
        levels: group name → level in (0, 1]; groups left out stay whole.
        rounding: "ceil" or "multiple8".
        weights: layer → its weight in the stored shape. Given, the channels with the largest squared filter norms
            (summed over the layers that produce them) stay; otherwise the first ones of each segment.
    """
    raise NotImplementedError


def narrow(
    module: nn.Module,
    network: Network,
    levels: Mapping[str, float],
    *,
    rounding: str = "ceil",
    keep: Mapping[str, Indices] | None = None,
) -> nn.Module:
    """A copy of `module` with smaller tensors; `module` stays as it was.

    Args:
        module: the network's module, or one with the same parameter names and shapes.
        network: the analysis.
        levels: group name → level in (0, 1]; groups left out stay whole.
        rounding: "ceil" or "multiple8".
        keep: layer → the output channels that stay (ascending), which also fixes everything coupled to them; without
            it the first channels of each segment stay.

    Raises:
        PlanError: `keep` contradicts itself or the levels.
        PatternError: an unknown group, or a level outside (0, 1].
    """
    raise NotImplementedError
