"""Filters whose output is constant leave a network, and the network computes what it did."""

from __future__ import annotations

import copy
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from advisor.coupling.structure import LayerUse
from advisor.errors import ModelError, PlanError
from advisor.runtime.narrow import kept_sides, narrow_to
from advisor.trace import evaluation
from validation.methods.filters.compensate import Compensated, compensate, contribution
from validation.methods.filters.constants import constant_inputs, sample_like
from validation.methods.filters.listed import listed_plan
from validation.methods.filters.removable import Removable, stayed

if TYPE_CHECKING:
    from advisor.coupling.keep import Flags
    from advisor.coupling.structure import Coupling
    from advisor.network import Network
    from advisor.plans.plan import Plan

_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3}  # relative; anything above is no rounding


@dataclass(frozen=True, kw_only=True)
class Removed:
    """A network without its constant filters.

    Attributes:
        module: in the mode of the one given; its outputs in evaluation mode are what they were.
        plan: what went, as a plan of the full network: `plan.apply` narrows any copy of it in the same way, and
            `restored` builds `module` from it and from the state of `module`. Where nothing was lost, or all of it fits
            into biases and norms that are there anyway, that state loads into what `apply` gives.
        removed: layer → the filters that went.
        maps: layers that a `BiasMap` follows: their zero padding meets constants that are not zero.
        difference: the largest change of an output on random input, which is rounding.
        notes: what stayed though it was asked to go, and where constants went.
    """

    module: nn.Module
    plan: Plan
    removed: Mapping[str, tuple[int, ...]]
    maps: tuple[str, ...]
    difference: float
    notes: tuple[str, ...]


def remove_filters(network: Network, module: nn.Module, keep: Mapping[str, Sequence[int]] | None = None) -> Removed:
    """Takes out filters whose output does not depend on the input, or that nobody reads, exactly.

    A filter may go where its output is a constant for every layer that reads it (its weights are zero, or its batch
    norm's scale is zero; what follows may make any other constant of it: activations, pooling, additions, padding), or
    where those layers have no weights for it. Whatever it gave them moves into their biases (Mehta, Kim and Theobalt
    2019 leave it out; with zero scale and shift 0.7 that errs by 0.26, and by 0.14 at the borders with a bias alone).
    Channels coupled with it (residual additions, depthwise layers) go with it or keep it.

    Args:
        network: the analysis of the full network.
        module: that network with the weights in question, on real numbers; left as it was.
        keep: layer → numbers of the filters that stay, for the layers whose other filters should go. None: all that
            can go does.

    Raises:
        ModelError: the network has inputs of whole numbers, decides by its data, or comes out different.
        PlanError: `keep` names a layer or a filter that the network does not have.
    """
    wanted = None if keep is None else _checked(network, keep)
    constants = constant_inputs(network, module)
    found = Removable(network, module, constants, wanted)
    sides = kept_sides(found.coupling, found.stays)
    lost = _lost(network, module, found, constants)
    smaller = narrow_to(copy.deepcopy(module), network, found.coupling, found.stays)
    params = sum(p.numel() for p in smaller.parameters())
    smaller, done = compensate(network, smaller, lost)
    removed = _gone(found.coupling, found.stays)
    notes = (*_why_stayed(found, network), *_where(done))
    return Removed(
        module=smaller,
        plan=listed_plan(network, sides, params, notes),
        removed=removed,
        maps=tuple(done.maps),
        difference=_difference(network, module, smaller),
        notes=notes,
    )


def _checked(network: Network, keep: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    layers = {layer.name: layer for layer in network.sparsifiable}
    for name, filters in keep.items():
        if name not in layers:
            known = ", ".join(list(layers)[:8])
            raise PlanError(f"{network.name}: got layer {name!r} to keep filters of, expected a layer such as {known}")
        there = layers[name].out_channels
        if wrong := [n for n in filters if not 0 <= n < there]:
            raise PlanError(f"layer {name}: got filter {wrong[0]} to keep, expected 0 to {there - 1}")
    return {name: np.asarray(filters, dtype=np.int64) for name, filters in keep.items()}


def _lost(
    network: Network, module: nn.Module, found: Removable, constants: Mapping[str, tuple[Tensor, ...]]
) -> dict[str, Tensor]:
    """Layer → what its staying outputs lose with its removed inputs."""
    lost: dict[str, Tensor] = {}
    class_of, stays = found.coupling.class_of, found.stays
    for use in found.coupling.graph.steps:
        if not isinstance(use, LayerUse) or use.layer in lost or stays[class_of[use.inputs]].all():
            continue
        layer = network.layer(use.layer)
        outputs = torch.from_numpy(stays[class_of[use.outputs]].nonzero()[0])
        if not len(outputs) or not constants.get(use.layer):
            continue
        given = constants[use.layer][0]
        amount = contribution(layer, module.get_submodule(use.layer), given, ~stays[class_of[use.inputs]])
        lost[use.layer] = amount.index_select(0 if layer.is_conv else -1, outputs.to(amount.device))
    return lost


def _gone(coupling: Coupling, stays: Flags) -> dict[str, tuple[int, ...]]:
    found = {}
    for use in coupling.graph.steps:
        if isinstance(use, LayerUse) and (gone := (~stays[coupling.class_of[use.outputs]]).nonzero()[0]).size:
            found[use.layer] = tuple(gone.tolist())
    return found


def _why_stayed(found: Removable, network: Network) -> list[str]:
    """One line per layer and reason."""
    if found.asked.all():
        return []  # nobody named any filter: what stays is needed
    counted: dict[str, Counter[str]] = defaultdict(Counter)
    for layer, _, reason in stayed(found, network):
        counted[layer][reason] += 1
    return [
        f"layer {layer}: {count} of the filters to remove stay: {reason}"
        for layer, reasons in counted.items()
        for reason, count in reasons.items()
    ]


def _where(done: Compensated) -> list[str]:
    notes = []
    if done.maps:
        notes.append(
            f"a bias map follows {_names(done.maps)}, whose zero padding meets constants that are not zero; a plan "
            "cannot hold it, but the file of the weights does (restored)"
        )
    if done.new_bias:
        notes.append(f"{_names(done.new_bias)} got a bias, which the full network does not have there")
    return notes


def _names(layers: Sequence[str]) -> str:
    return ("layers " if len(layers) > 1 else "layer ") + ", ".join(layers)


def _difference(network: Network, before: nn.Module, after: nn.Module) -> float:
    """The largest change of an output.

    Raises:
        ModelError: it is more than rounding.
    """
    inputs = sample_like(network, before, None)
    with torch.no_grad(), evaluation(before), evaluation(after):
        old, new = (tree_leaves(one(*inputs)) for one in (before, after))
    worst = 0.0
    for left, right in zip(old, new, strict=True):
        if not isinstance(left, Tensor) or not left.is_floating_point():
            continue
        change = float((left - right).abs().max()) if left.shape == right.shape else float("inf")
        scale = max(1.0, float(left.abs().max()))
        if not change <= _TOLERANCE.get(left.dtype, 1e-2) * scale:
            raise ModelError(
                f"network {network.name}: without its constant filters an output changes by {change:.3g} of "
                f"{scale:.3g}, so something in it counts channels in a way that is not followed; leave its filters in"
            )
        worst = max(worst, change)
    return worst
