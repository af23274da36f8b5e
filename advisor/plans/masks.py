"""Masks from a plan alone: the same bits on every machine, whatever torch's random state is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from advisor.errors import PatternError, PlanError
from advisor.patterns.base import pattern
from advisor.patterns.connectivity import apply_repair
from advisor.patterns.layout import stored
from advisor.plans.checks import check_plan
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
        plan = with_kept(plan)
        check_plan(plan)
    else:
        check_model(plan, model)
        if any(is_open(layer) for layer in plan.layers):
            plan = with_kept(plan, network_for(plan, model))
    return {layer.name: torch.from_numpy(mask_of(plan, layer)) for layer in plan.layers}


def mask_of(plan: Plan, layer: PlanLayer) -> Bools:
    """One layer's mask.

    Raises:
        PlanError: the plan does not say which connections stay, or says it in a way that cannot be.
    """
    if layer.pattern == "dense":
        return np.ones(layer.weight_shape, dtype=np.bool_)
    if layer.pattern == "width":
        mask = _width_mask(plan, layer)
    else:
        mask = pattern(layer.pattern).mask(layer.layer, layer.option, connections=connections_of(plan, layer))
    # Where there is one tap, spreading over the taps gives a view that torch must not write through.
    return np.require(mask, requirements=["C", "W"])


def connections_of(plan: Plan, layer: PlanLayer) -> Bools:
    """The kept units of a masked layer, in the pattern's shape: drawn or chosen, then repaired."""
    if layer.is_chosen:
        chosen = (plan.chosen or {}).get(layer.name)
        if chosen is None:
            raise PlanError(f"plan for {plan.model!r}: layer {layer.name} has chosen connections, but they are missing")
        units = np.asarray(chosen)
    else:
        units = pattern(layer.pattern).connections(layer.layer, layer.option, seed=layer.seed)
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
    together = outputs_together(layer.option)
    if layer.pattern in ("channel", "group"):
        return connections_of(plan, layer), together
    return mask_of(plan, layer).reshape(layer.weight_shape[:2])[::together], together


def _width_mask(plan: Plan, layer: PlanLayer) -> Bools:
    """Kept rows times kept columns; a column of a grouped layer is an input of the row's own group."""
    if is_open(layer):
        raise PlanError(
            f"plan for {plan.model!r}: layer {layer.name} does not say which channels width keeps; pass the model"
        )
    full = layer.layer
    inputs = np.zeros(full.in_channels, dtype=np.bool_)
    outputs = np.zeros(full.out_channels, dtype=np.bool_)
    inputs[from_ranges(layer.kept_inputs)] = True
    outputs[from_ranges(layer.kept_outputs)] = True
    columns = np.repeat(inputs.reshape(full.groups, -1), full.out_channels // full.groups, axis=0)
    kept = outputs[:, None] & columns
    spread = np.broadcast_to(kept.reshape(*kept.shape, *(1,) * len(full.kernel)), (*kept.shape, *full.kernel))
    return stored(spread, full)
