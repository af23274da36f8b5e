"""Width in a plan: the level of each width group, and the channels that stay on both sides of each layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from advisor.plans.ranges import from_ranges, to_ranges

if TYPE_CHECKING:
    from advisor.network import Network
    from advisor.plans.plan import Plan, PlanLayer

Indices = NDArray[np.int64]


def is_open(layer: PlanLayer) -> bool:
    """Whether a width layer does not say yet which channels stay."""
    return layer.pattern == "width" and not (layer.kept_inputs and layer.kept_outputs)


def width_levels(plan: Plan, network: Network) -> dict[str, float]:
    """Width group → level, as the plan's width layers say.

    Raises:
        PlanError: two layers want different levels of one group.
    """
    from advisor.runtime.narrow import levels_from_options

    return levels_from_options(network, {layer.name: layer.option for layer in plan.layers})


def with_kept(plan: Plan, network: Network | None = None) -> Plan:
    """The plan with the channels that width keeps written down: the first ones of each segment where it was silent.

    Args:
        network: the analysis to ask; the plan's own otherwise. Without any, the plan comes back as it was.
    """
    network = network or plan.network
    if network is None or not any(is_open(layer) for layer in plan.layers):
        return plan
    from advisor.runtime.narrow import kept_channels

    kept = kept_channels(network, width_levels(plan, network), plan.rounding)
    layers = tuple(_closed(layer, kept) if is_open(layer) else layer for layer in plan.layers)
    return dataclasses.replace(plan, layers=layers)


def _closed(layer: PlanLayer, kept: Mapping[str, tuple[Indices, Indices]]) -> PlanLayer:
    inputs, outputs = kept[layer.name]
    return dataclasses.replace(layer, kept_inputs=to_ranges(inputs), kept_outputs=to_ranges(outputs))


def kept_outputs(plan: Plan) -> dict[str, Indices]:
    """Width layer → the output channels that stay, for `narrow`."""
    return {layer.name: from_ranges(layer.kept_outputs) for layer in plan.layers if layer.pattern == "width"}
