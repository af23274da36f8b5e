"""From thresholded weights to a plan: dead groups leave the network, single zeros become masks in what is left."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save
from torch import nn

from advisor.errors import AdvisorError
from advisor.patterns.base import kept_of
from advisor.patterns.layout import logical, logical_shape
from advisor.patterns.narrowed import combined, kept_connections
from advisor.patterns.option import Option
from advisor.plans.plan import CostLine, Plan, PlanLayer
from advisor.plans.ranges import from_ranges
from validation.methods.filters.listed import listed_plan
from validation.methods.filters.removal import Removed, remove_filters

if TYPE_CHECKING:
    from advisor.network import Layer, Network

Bools = NDArray[np.bool_]


def narrowed(network: Network, module: nn.Module) -> tuple[Removed | None, str]:
    """The really narrower network, and why there is none where nothing can be removed for sure.

    Everything that no output depends on goes, exactly: filters of zero weights, filters that nobody has weights for
    (dead input neurons of a linear layer are outputs of the layer before), and what is coupled with them. Constants
    that they gave move into biases.

    Args:
        network: the analysis of the dense network.
        module: the dense network, with zeros; left as it was.
    """
    try:
        return remove_filters(network, module), ""
    except AdvisorError as error:
        return None, f"dead groups stay in the network: {error}"


def plan_of(network: Network, module: nn.Module, removed: Removed | None) -> Plan:
    """The plan of what is left: fewer channels, and `unstructured` masks where zeros are among those that stay.

    Args:
        network: the analysis of the dense network.
        module: the dense network, with zeros.
        removed: see `narrowed`; None: all channels stay.
    """
    base = _whole(network) if removed is None else removed.plan
    layers: list[PlanLayer] = []
    chosen: dict[str, Bools] = {}
    params, macs = (base.costs[key].plan for key in ("params", "macs"))
    for planned, layer in zip(base.layers, network.sparsifiable, strict=True):
        there = _left(planned, layer, module)
        if not there.all():
            # A plan keeps a weight of each layer at least; this one is zero, so nothing changes.
            there.flat[0] |= not there.any()
            planned = _masked(planned, layer, there)
            chosen[layer.name] = there
            gone = there.size - int(there.sum())
            params, macs = params - gone, macs - layer.macs * gone // layer.weights
        layers.append(planned)
    return dataclasses.replace(
        base,
        layers=tuple(layers),
        chosen=chosen or None,
        costs={
            "params": CostLine(dense=network.params, plan=params),
            "macs": CostLine(dense=network.macs, plan=macs),
        },
        patterns=tuple(dict.fromkeys(one.pattern for one in layers if one.pattern != "dense")),
    )


def files_of(removed: Removed) -> dict[str, bytes]:
    """The narrower network as two files, from which `validation.methods.filters.restore.restored` builds it again."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in removed.module.state_dict().items()}
    return {"narrowed.json": json.dumps(removed.plan.to_json()).encode(), "narrowed.safetensors": save(state)}


def _whole(network: Network) -> Plan:
    sides = {
        layer.name: (np.arange(layer.in_channels), np.arange(layer.out_channels)) for layer in network.sparsifiable
    }
    return listed_plan(network, sides, network.params)


def _left(planned: PlanLayer, layer: Layer, module: nn.Module) -> Bools:
    """(outputs, inputs of a group, *kernel) of the layer as width leaves it: which weights are not zero."""
    there = logical((module.get_parameter(planned.weight).detach() != 0).cpu().numpy(), layer)
    if not planned.is_narrowed:
        return there.copy()
    smaller, _ = planned.thinned
    inputs, outputs = np.zeros(layer.in_channels, dtype=bool), np.zeros(layer.out_channels, dtype=bool)
    inputs[from_ranges(planned.kept_inputs)] = True
    outputs[from_ranges(planned.kept_outputs)] = True
    return there[kept_connections(inputs, outputs, layer)].reshape(logical_shape(smaller))


def _masked(planned: PlanLayer, layer: Layer, there: Bools) -> PlanLayer:
    kept = int(there.sum())
    density = kept / there.size
    if kept_of(density, there.size) != kept:  # a rounding error of a very large layer
        density = (kept - 0.5) / there.size
    inner = Option(pattern="unstructured", density=density)
    if not planned.is_narrowed:
        return PlanLayer.of(layer, inner, seed=0, selection="trained")
    sides = (from_ranges(planned.kept_inputs), from_ranges(planned.kept_outputs))
    return PlanLayer.of(layer, combined(planned.option, inner), seed=0, selection="trained", kept=sides)
