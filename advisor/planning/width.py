"""Width options for the planner: what each layer becomes at every pair of levels of its two width groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from advisor.patterns.option import Option

if TYPE_CHECKING:
    from advisor.network import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthLayer:
    """One sparsifiable layer between two width groups.

    Attributes:
        inputs: index of the group on its input side into `WidthLevels.groups`; None where that side never narrows.
        outputs: the same for the output side. Both may be the same group.
        options: (level of the input group, level of the output group) → option, as indices into that group's
            levels; a None side counts as level 0. Every reachable pair is there: where nothing changes for this layer
            the option is DENSE. Where both sides are one group only equal pairs exist.
    """

    name: str
    inputs: int | None
    outputs: int | None
    options: Mapping[tuple[int, int], Option]


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthGroupLevels:
    """One group that can be narrowed.

    Attributes:
        name: as in `network.coupling`.
        levels: V distinct ones, the first is 1.0, falling; levels that keep the same channels are listed once.
        params: (V,) elements of the parameters that follow this group, the weights of sparsifiable layers left out
            (their options hold them): norms, biases, embeddings, layer scales.
        buffer_bytes: (V,) bytes of buffers that follow it (running statistics).
        param_bytes: (V,) bytes of what `params` counts.
        activation_bytes: (T, V) bytes alive at each of the T steps of `peak_activation_bytes` that follow this group.
    """

    name: str
    levels: tuple[float, ...]
    params: NDArray[np.float64]
    param_bytes: NDArray[np.float64]
    buffer_bytes: NDArray[np.float64]
    activation_bytes: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthLevels:
    """Everything that a planner needs to choose one level per group.

    A whole network at level indices v: params = constant + Σ_g groups[g].params[v_g] + weights of the layers' options;
    peak activation bytes = max over steps of base_bytes + Σ_g groups[g].activation_bytes[:, v_g], exactly
    `Network.peak_activation_bytes` when all are at level 0.

    Attributes:
        groups: those with at least two distinct levels, in order of execution.
        layers: every sparsifiable layer that at least one group touches.
        base_bytes: (T,) activation bytes alive at each step that follow no group.
        frozen: group name → why it cannot be narrowed.
    """

    rounding: str
    groups: tuple[WidthGroupLevels, ...]
    layers: tuple[WidthLayer, ...]
    base_bytes: NDArray[np.float64]
    frozen: Mapping[str, str]


def width_levels(network: Network, levels: Sequence[float], rounding: str = "ceil") -> WidthLevels:
    """The levels that each width group can really take, and what follows from them."""
    raise NotImplementedError


def width_options(network: Network, levels: Sequence[float], rounding: str = "ceil") -> dict[str, tuple[Option, ...]]:
    """Per sparsifiable layer the width options at all pairs of levels of its groups, largest first; DENSE left out."""
    raise NotImplementedError
