"""Width in a plan: the level of each width group, and the channels that stay on both sides of each layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from advisor.errors import PlanError
from advisor.patterns.width import LISTED
from advisor.plans.ranges import count, from_ranges, to_ranges

if TYPE_CHECKING:
    from torch import nn

    from advisor.network import Network
    from advisor.plans.plan import Plan, PlanLayer

Indices = NDArray[np.int64]


def is_open(layer: PlanLayer) -> bool:
    """Whether a width layer does not say yet which channels stay."""
    return layer.is_narrowed and not (layer.kept_inputs and layer.kept_outputs)


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


def narrowed(plan: Plan, network: Network, module: nn.Module) -> nn.Module:
    """Cuts `module` itself down to the channels that the plan keeps.

    Raises:
        PlanError: the layers of the plan keep channels that do not belong together.
    """
    from advisor.coupling.keep import kept_classes, listed_classes
    from advisor.runtime.narrow import kept_sides, narrow_to

    coupling = network.coupling
    keep = {layer.name: from_ranges(layer.kept_outputs) for layer in plan.layers if layer.is_narrowed}
    listed = {layer.parameters["rounding"] == LISTED for layer in plan.layers if layer.is_narrowed}
    if len(listed) > 1:
        raise PlanError(
            f"plan for {plan.model!r}: some layers list the channels that stay (rounding {LISTED!r}), others have "
            "factors; make it anew with one of both"
        )
    if listed == {True}:
        flags = listed_classes(coupling, keep)
    else:
        flags = kept_classes(coupling, width_levels(plan, network), plan.rounding, keep=keep)
    sides = kept_sides(coupling, flags)
    for layer in plan.layers:
        planned = (layer.kept_inputs, layer.kept_outputs)
        if not layer.is_narrowed:
            planned = (((0, layer.layer.in_channels),), ((0, layer.layer.out_channels),))
        inputs, outputs = sides[layer.name]
        for side, wanted, found in zip(("inputs", "outputs"), planned, (inputs, outputs), strict=True):
            if to_ranges(found) != wanted:
                raise PlanError(
                    f"plan for {plan.model!r}: layer {layer.name} ({layer.pattern}) keeps {count(wanted)} {side}, but "
                    f"the layers it is coupled with leave it {len(found)}, or others; make the plan anew"
                )
    return narrow_to(module, network, coupling, flags)
