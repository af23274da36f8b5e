"""Masks from a plan alone: the same bits on every machine, whatever torch's random state is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from advisor.errors import PatternError, PlanError
from advisor.patterns.base import pattern
from advisor.patterns.connectivity import apply_repair
from advisor.patterns.layout import logical, stored
from advisor.patterns.narrowed import kept_connections, place
from advisor.plans.checks import check_has_network, check_plan
from advisor.plans.kept import is_open, with_kept
from advisor.plans.match import check_model, network_for
from advisor.plans.ranges import from_ranges
from advisor.runtime.execution import outputs_together

if TYPE_CHECKING:
    from advisor.plans.plan import Plan, PlanLayer

Bools = NDArray[np.bool_]


def masks(plan: Plan, model: torch.nn.Module | None = None) -> dict[str, torch.Tensor]:
    """Layer → bool tensor in the stored weight's shape; all true for dense layers. See `Plan.masks`.

    Costs a byte per weight.
    """
    if model is None:
        check_has_network(plan)
        plan = with_kept(plan)
        check_plan(plan)
    else:
        check_model(plan, model)
        if any(is_open(layer) for layer in plan.layers):
            plan = with_kept(plan, network_for(plan, model))
    return {layer.name: torch.from_numpy(mask_of(plan, layer)) for layer in plan.layers}


def mask_of(plan: Plan, layer: PlanLayer) -> Bools:
    """One layer's mask, in the shape of the full weight.

    Raises:
        PlanError: the plan does not say which connections stay, or says it in a way that cannot be.
    """
    mask = mask_within(plan, layer)
    if layer.is_narrowed:
        smaller, full = layer.thinned[0], layer.layer
        mask = stored(place(logical(mask, smaller), kept_by_width(plan, layer), full), full)
    # Where there is one tap, spreading over the taps gives a view that torch must not write through.
    return np.require(mask, requirements=["C", "W"])


def mask_within(plan: Plan, layer: PlanLayer) -> Bools:
    """One layer's mask in the shape that its weight has under the plan: without the channels that width takes.

    Raises:
        PlanError: as `mask_of`.
    """
    smaller, option = layer.thinned
    if option.pattern == "dense":
        return np.ones(smaller.weight_shape, dtype=np.bool_)
    mask = pattern(option.pattern).mask(smaller, option, connections=connections_of(plan, layer))
    return np.require(mask, requirements=["C", "W"])


def connections_of(plan: Plan, layer: PlanLayer) -> Bools:
    """The kept units of a masked layer as width leaves it, in the pattern's shape: drawn or chosen, then repaired."""
    if layer.is_chosen:
        chosen = (plan.chosen or {}).get(layer.name)
        if chosen is None:
            raise PlanError(f"plan for {plan.model!r}: layer {layer.name} has chosen connections, but they are missing")
        units = np.asarray(chosen)
    else:
        smaller, option = layer.thinned
        units = pattern(option.pattern).connections(smaller, option, seed=layer.seed)
    try:
        return apply_repair(units, layer.rewired, layer.dropped)
    except PatternError as error:
        raise PlanError(
            f"plan for {plan.model!r}: layer {layer.name}: {error}; the plan was changed by hand, make it anew"
        ) from error


def units_of(plan: Plan, layer: PlanLayer) -> tuple[Bools, int]:
    """Which inputs of its group each block of outputs reads, (blocks, inputs of a group), and the outputs of a block.

    For `channel` and `group`, and for layers of one tap under any masked pattern: each input is kept at all taps or
    at none.
    """
    smaller, option = layer.thinned
    together = outputs_together(option)
    if option.pattern in ("channel", "group"):
        return connections_of(plan, layer), together
    return mask_within(plan, layer).reshape(smaller.weight_shape[:2])[::together], together


def kept_by_width(plan: Plan, layer: PlanLayer) -> Bools:
    """(outputs, inputs of a group): the connections between the channels that width keeps."""
    if is_open(layer):
        raise PlanError(
            f"plan for {plan.model!r}: layer {layer.name} does not say which channels width keeps; pass the model"
        )
    full = layer.layer
    inputs = np.zeros(full.in_channels, dtype=np.bool_)
    outputs = np.zeros(full.out_channels, dtype=np.bool_)
    inputs[from_ranges(layer.kept_inputs)] = True
    outputs[from_ranges(layer.kept_outputs)] = True
    return kept_connections(inputs, outputs, full)
