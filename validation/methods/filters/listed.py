"""A plan that lists which channels stay, whichever they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from advisor.patterns.option import DENSE, Option
from advisor.patterns.width import LISTED
from advisor.plans.plan import CostLine, Plan, PlanLayer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from advisor.network import Network

    Sides = Mapping[str, tuple[NDArray[np.int64], NDArray[np.int64]]]


def listed_plan(network: Network, sides: Sides, params: int, notes: Sequence[str] = ()) -> Plan:
    """The plan that leaves every layer the channels of `sides`, with parameters and MACs before and after.

    Args:
        network: the analysis of the full network.
        sides: layer → (input channels, output channels) that stay, ascending, for every sparsifiable layer.
        params: of the network that is left.
        notes: what a reader of the plan should know.
    """
    layers = []
    macs = network.macs
    for layer in network.sparsifiable:
        inputs, outputs = sides[layer.name]
        whole = len(inputs) == layer.in_channels and len(outputs) == layer.out_channels
        made = PlanLayer.of(layer, DENSE, seed=0)
        if not whole:
            parameters = {
                "in": len(inputs) / layer.in_channels,
                "out": len(outputs) / layer.out_channels,
                "rounding": LISTED,
                "in_channels": len(inputs),
                "out_channels": len(outputs),
            }
            made = PlanLayer.of(layer, Option(pattern="width", density=1.0, parameters=parameters), seed=0)
            smaller, _ = made.thinned
            share = Option(pattern="width", density=smaller.weights / layer.weights, parameters=parameters)
            made = PlanLayer.of(layer, share, seed=0, kept=(inputs, outputs))
            macs -= layer.macs - layer.macs * smaller.weights // layer.weights
        layers.append(made)
    return Plan(
        model=network.name,
        input_shapes=network.input_shapes,
        layers=tuple(layers),
        costs={
            "params": CostLine(dense=network.params, plan=params),
            "macs": CostLine(dense=network.macs, plan=macs),
        },
        objective=0.0,  # nothing is lost
        bound=math.nan,
        gap=math.nan,
        solve_seconds=0.0,
        status="baseline",
        sensitivity="none",
        patterns=("width",),
        seed=0,
        notes=tuple(notes),
        network=network,
    )
