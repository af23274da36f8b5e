"""The network that a removal left, built again from its plan and its weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from advisor.errors import PlanError
from advisor.plans.plan import Plan
from advisor.plans.thin import Parts
from validation.methods.filters.compensate import BiasMap

_MAP = ".1.bias_map"  # a layer with its map behind it is a sequence of two


def restored(plan: Plan, module: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """What `remove_filters` made, on any machine.

    Args:
        plan: of the removal.
        module: the full network; its own weights do not matter.
        state: the state of the module that the removal left (`removed.safetensors`).

    Raises:
        PlanError: the three do not belong together.
    """
    narrow = plan.apply(module)
    parts = Parts(narrow)
    for name in [key.removesuffix(_MAP) for key in state if key.endswith(_MAP)]:
        child = _child(plan, narrow, name)
        parts.replace(child, nn.Sequential(child, BiasMap(torch.zeros_like(state[name + _MAP]))))
    for layer in plan.layers:
        key = f"{layer.name}.bias"
        child = _child(plan, narrow, layer.name)
        if key in state and child._parameters.get("bias", state[key]) is None:
            child.bias = nn.Parameter(torch.zeros_like(state[key]))
    try:
        narrow.load_state_dict(dict(state))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise PlanError(f"plan for {plan.model!r}: the weights are not those of its network ({reason})") from error
    return narrow


def _child(plan: Plan, narrow: nn.Module, name: str) -> nn.Module:
    try:
        return narrow.get_submodule(name)
    except AttributeError as error:
        raise PlanError(
            f"plan for {plan.model!r}: the network has no layer {name!r}, which the weights have"
        ) from error
