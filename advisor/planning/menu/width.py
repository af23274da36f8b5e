"""Width options for the planner: what each layer becomes at every pair of levels of its two width groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from advisor.coupling.structure import Coupling, LayerUse
from advisor.patterns.option import DENSE, Option

if TYPE_CHECKING:
    from advisor.network import Layer, Network

Floats = NDArray[np.float64]


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
    params: Floats
    param_bytes: Floats
    buffer_bytes: Floats
    activation_bytes: Floats


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
    base_bytes: Floats
    frozen: Mapping[str, str]


def width_levels(network: Network, levels: Sequence[float], rounding: str = "ceil") -> WidthLevels:
    """The levels that each width group can really take, and what follows from them.

    Args:
        network: the analysis; the first call for a network tries narrowing on meta tensors (see `coupling.trial`).
        levels: kept shares in (0, 1]; 1.0 is always among the result's.
        rounding: "ceil" keeps ⌈level·n⌉ channels of each segment of n; "multiple8" floors to a multiple of 8, at
            least 8 and at most n.

    Raises:
        PatternError: a level outside (0, 1], or an unknown rounding.
    """
    from advisor.coupling.keep import distinct_levels, kept_share
    from advisor.coupling.trial import tried

    coupling = tried(network)
    taken = [distinct_levels(coupling, g, levels, rounding) for g in range(len(coupling.groups))]
    free = [g for g, found in enumerate(taken) if len(found) > 1]
    index = {g: i for i, g in enumerate(free)}
    shares = {g: [kept_share(coupling, {coupling.groups[g].name: level}, rounding) for level in taken[g]] for g in free}
    parameters = _parameters(network, coupling, shares)
    base, alive = _activations(network, coupling, shares)
    groups = tuple(
        WidthGroupLevels(name=coupling.groups[g].name, levels=taken[g], activation_bytes=alive[g], **parameters[g])
        for g in free
    )
    layers = []
    for layer in network.sparsifiable:
        sides = [index.get(g) if g is not None else None for g in coupling.of(layer.name)]
        if sides != [None, None]:
            layers.append(_layer(layer, sides[0], sides[1], groups, coupling, shares, free, rounding))
    return WidthLevels(
        rounding=rounding,
        groups=groups,
        layers=tuple(layers),
        base_bytes=base,
        frozen={group.name: group.frozen for group in coupling.groups if group.frozen},
    )


def width_options(network: Network, levels: Sequence[float], rounding: str = "ceil") -> dict[str, tuple[Option, ...]]:
    """Per sparsifiable layer the width options at all pairs of levels of its groups, largest first; DENSE left out.

    Raises:
        PatternError: a level outside (0, 1], or an unknown rounding.
    """
    found: dict[str, tuple[Option, ...]] = {}
    for layer in width_levels(network, levels, rounding).layers:
        options = {option.label: option for option in layer.options.values() if option != DENSE}
        found[layer.name] = tuple(sorted(options.values(), key=lambda option: (-option.density, option.label)))
    return found


def _layer(
    layer: Layer,
    inputs: int | None,
    outputs: int | None,
    groups: Sequence[WidthGroupLevels],
    coupling: Coupling,
    shares: Mapping[int, list[Floats]],
    free: Sequence[int],
    rounding: str,
) -> WidthLayer:
    use = next(step for step in coupling.graph.steps if isinstance(step, LayerUse) and step.layer == layer.name)
    counts = []
    for group, nodes in ((inputs, use.inputs), (outputs, use.outputs)):
        classes = coupling.class_of[nodes]
        counts.append([len(nodes)] if group is None else [round(float(x[classes].sum())) for x in shares[free[group]]])
    depthwise = 1 < layer.groups == layer.in_channels
    options: dict[tuple[int, int], Option] = {}
    for i, kept_in in enumerate(counts[0]):
        for j, kept_out in enumerate(counts[1]):
            if inputs is not None and inputs == outputs and i != j:
                continue
            if (kept_in, kept_out) == (counts[0][0], counts[1][0]):
                options[i, j] = DENSE
                continue
            weights = kept_in * kept_out // (kept_in if depthwise else layer.groups) * prod(layer.kernel)
            options[i, j] = Option(
                pattern="width",
                density=weights / layer.weights,
                parameters={
                    "in": 1.0 if inputs is None else groups[inputs].levels[i],
                    "out": 1.0 if outputs is None else groups[outputs].levels[j],
                    "rounding": rounding,
                    "in_channels": kept_in,
                    "out_channels": kept_out,
                },
            )
    return WidthLayer(name=layer.name, inputs=inputs, outputs=outputs, options=options)


def _parameters(
    network: Network, coupling: Coupling, shares: Mapping[int, list[Floats]]
) -> dict[int, dict[str, Floats]]:
    """Per group (V,) what its channels hold in parameters and buffers beside the weights of sparsifiable layers."""
    found = {g: {key: np.zeros(len(x)) for key in ("params", "param_bytes", "buffer_bytes")} for g, x in shares.items()}
    weights = {layer.weight for layer in network.sparsifiable}
    values = {value.name: value for value in network.ops.values if value.name is not None}
    for cut in coupling.cuts:
        value = values.get(cut.name)
        if value is None or cut.name in weights:
            continue
        each = prod(value.shape) // len(cut.nodes)  # elements at one position along the cut axis
        item = value.bytes // max(prod(value.shape), 1)
        classes = coupling.class_of[cut.nodes]
        for g, levels in shares.items():
            held = classes[coupling.group_of[classes] == g]
            kept = np.array([np.rint(share[held].sum()) * each for share in levels])
            if value.origin == "parameter":
                found[g]["params"] += kept
                found[g]["param_bytes"] += kept * item
            else:
                found[g]["buffer_bytes"] += kept * item
    return found


def _activations(
    network: Network, coupling: Coupling, shares: Mapping[int, list[Floats]]
) -> tuple[Floats, dict[int, Floats]]:
    """(T,) bytes alive at each step that follow no group, and per group (T, V) those that do."""
    from advisor.counting.liveness import storages  # loads torch, which the planner does without

    steps = len(network.ops.ops) + 2
    base = np.zeros(steps + 1)
    alive = {g: np.zeros((steps + 1, len(levels))) for g, levels in shares.items()}
    for storage in storages(network.ops):
        labels = coupling.labels.get(storage.value)
        first, last = storage.start + 1, storage.end + 2
        rest = float(storage.bytes)
        if labels is not None:
            classes = coupling.class_of[labels.ravel()]
            each = storage.bytes / labels.size
            for g in np.unique(coupling.group_of[classes]).tolist():
                if g not in shares:
                    continue
                held = classes[coupling.group_of[classes] == g]
                kept = np.array([np.rint(share[held].sum()) * each for share in shares[g]])
                alive[g][first] += kept
                alive[g][last] -= kept
                rest -= len(held) * each
        base[first] += rest
        base[last] -= rest
    return base.cumsum()[:steps], {g: change.cumsum(axis=0)[:steps] for g, change in alive.items()}
