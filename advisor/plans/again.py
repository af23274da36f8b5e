"""A module that is under a plan already: back to plain layers, so that what was trained can be deployed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import nn

from advisor.errors import PlanError
from advisor.plans.attention import are_in
from advisor.plans.masks import mask_within
from advisor.runtime.execution import shape_under
from advisor.runtime.packed import packed_of, unpack
from advisor.runtime.sparse import Sparse

if TYPE_CHECKING:
    from advisor.plans.plan import Plan


def is_applied(plan: Plan, model: nn.Module) -> bool:
    """Whether layers of `model` are sparse or packed, or have the narrower shapes that the plan's width gives them."""
    if any(isinstance(child, Sparse) or any(packed_of(child)) for child in model.modules()):
        return True
    if are_in(plan.attention, model):
        return True
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters(remove_duplicate=False)}
    widths = [layer for layer in plan.layers if layer.is_narrowed]
    smaller = [shape_under(layer.layer, layer.option)[0] for layer in widths]
    return any(layer.weight_shape != shape for layer, shape in zip(widths, smaller, strict=True)) and all(
        shapes.get(layer.weight) == shape for layer, shape in zip(widths, smaller, strict=True)
    )


def dense_again(module: nn.Module) -> nn.Module:
    """Plain dense layers, zero where no connection is, in the place of sparse and packed ones; changes `module`."""
    unpack(module)
    return plain_where(module, lambda layer: True)


def plain_where(module: nn.Module, chosen: Callable[[Sparse], bool]) -> nn.Module:
    """Plain dense layers in the place of the sparse ones that `chosen` picks; changes `module`."""
    plain = {id(c): c.to_dense() for c in module.modules() if isinstance(c, Sparse) and chosen(c)}
    for parent in list(module.modules()):
        for name, child in parent._modules.items():
            if child is not None and id(child) in plain:
                parent._modules[name] = plain[id(child)]
    return plain.get(id(module), module)


def check_zeros(plan: Plan, module: nn.Module) -> None:
    """Refuses a module with weights that this plan removes: another plan was applied to it.

    Raises:
        PlanError: the first layer with such a weight.
    """
    for layer in plan.layers:
        weight = module.get_parameter(layer.weight)
        if not layer.is_masked or weight.is_meta:
            continue
        gone = torch.from_numpy(~mask_within(plan, layer)).to(weight.device)
        if bool(weight.detach()[gone].any()):
            raise PlanError(
                f"plan for {plan.model!r}: layer {layer.name} of the module has other connections than the plan; it is "
                "under another plan"
            )
