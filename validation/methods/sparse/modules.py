"""The module that trains under masks, and the plan that its connections make afterwards."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import nn

from advisor.patterns.draw import Bools
from advisor.patterns.narrowed import width_option
from advisor.plans.masks import connections_of
from advisor.plans.match import check_model

if TYPE_CHECKING:
    from advisor.plans.plan import Plan, PlanLayer


def masked_module(dense: nn.Module, plan: Plan, *, rescale: bool = False) -> nn.Module:
    """What trains under a plan's masks: dense layers, really narrower where width says so.

    Args:
        dense: the network. It comes back itself where nothing is narrowed, and is left as it was otherwise.
        rescale: thinned layers' weights grow with the inputs they lost, as in `validation.contestants.rescaled`; this
            changes `dense` where it comes back itself.

    Raises:
        PlanError: the plan belongs to another network.
    """
    check_model(plan, dense)
    module = dense
    if any(layer.is_narrowed for layer in plan.layers):
        module = dataclasses.replace(plan, layers=tuple(map(_by_width_alone, plan.layers)), chosen=None).apply(dense)
    if rescale:
        from validation.contestants import rescaled

        rescaled(module, plan)
    return module


def _by_width_alone(layer: PlanLayer) -> PlanLayer:
    option = width_option(layer.option)
    return dataclasses.replace(
        layer,
        pattern=option.pattern,
        density=min(option.density, 1.0),
        parameters=option.parameters,
        selection="random",
        rewired=(),
        dropped=(),
        method=None,
    )


def with_connections(plan: Plan, units: Mapping[str, Bools], *, note: str = "") -> Plan:
    """The plan with connections that training found.

    Args:
        units: layer → which units live, in the pattern's shape, of the layer as width leaves it; each quota set as
            full as the plan's own. Rows that the plan's repair emptied stay empty.
        note: for the plan, of where they come from.
    """
    layers, chosen = [], dict(plan.chosen or {})
    for layer in plan.layers:
        if layer.name in units:
            found = units[layer.name].copy()
            if layer.dropped:  # the file holds every row's quota; the repair empties these again
                rows = list(layer.dropped)
                found[rows] = connections_of(plan, dataclasses.replace(layer, rewired=(), dropped=()))[rows]
            chosen[layer.name] = found
            layer = dataclasses.replace(layer, selection="trained", rewired=())
        layers.append(layer)
    notes = (*plan.notes, note) if note else plan.notes
    return dataclasses.replace(plan, layers=tuple(layers), chosen=chosen or None, notes=notes, basis=None)
