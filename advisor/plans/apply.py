"""From a plan and a module to the module with its layers sparse or narrower."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from advisor.errors import PlanError
from advisor.plans.again import check_zeros, dense_again, is_applied, plain_where
from advisor.plans.attention import put_in
from advisor.plans.checks import check_has_network
from advisor.plans.kept import narrowed, with_kept
from advisor.plans.match import check_is_module, check_model, network_for, sample_inputs
from advisor.plans.thin import Notes, Parts, in_lines, thin_out
from advisor.runtime.attention.replace import is_hierarchical
from advisor.runtime.fold import fold, has_norms
from advisor.runtime.fuse import fuse, is_fused
from advisor.runtime.methods import Method
from advisor.runtime.packed import unpack
from advisor.runtime.sparse import Sparse

if TYPE_CHECKING:
    from advisor.plans.plan import Plan


@dataclass(frozen=True, kw_only=True)
class Applied:
    """A module under a plan, and what really runs in it.

    Attributes:
        methods: layer → "dense" (also narrower, and with zeros baked in), "direct" (the sparse kernels), "gather", or
            "packed" (kept values scattered into a dense weight at every step).
        notes: what runs otherwise than the plan's costs assumed, and why.
    """

    module: nn.Module
    methods: Mapping[str, Method]
    notes: tuple[str, ...]


def apply_plan(plan: Plan, model: nn.Module, *, for_inference: bool = False, example_inputs: Any = None) -> Applied:
    """The module with the plan's layers in it; `model` is left as it was.

    Kept weights keep their values, of a freshly initialised network as of a trained one: nothing is rescaled for the
    smaller fan-in. In a freshly initialised network without norms the activations therefore shrink with the square
    root of the density; the source papers train with batch norm, where that has no effect.

    The outputs are those of the dense module with its weights multiplied by `plan.masks()`. Width is an exception
    where a norm works across channels (layer norm): the narrower network normalises over the channels that are left.

    Args:
        model: on any device, in any floating type. Names, shapes and number of parameters must be the plan's. With
            for_inference also a module that this plan was applied to, and that has been trained since.
        for_inference: evaluation mode, batch norms folded into the layers before them, activations and residual
            additions into the sparse ones, masked weights baked into plain dense ones; it is meant to run, not to
            train.
        example_inputs: for networks that take other than float inputs, or other shapes than the plan was made with;
            needed only where the module has to be analysed again (width, for_inference), or tried (for_inference: what
            is fused is tried on them).

    Raises:
        PlanError: no module, or the plan belongs to another network; the first difference is named.
    """
    check_has_network(plan)
    check_is_module(model)
    again = is_applied(plan, model)
    if again and not for_inference:
        raise PlanError(
            f"plan for {plan.model!r}: the module is under a plan already; pass the dense one, or for_inference=True"
        )
    if again and is_fused(model):
        raise PlanError(
            f"plan for {plan.model!r}: the module was made for inference already, with activations fused into its "
            "layers; pass the one that it was made from"
        )
    module = _copied(model)
    if again:
        module = dense_again(module)
        check_model(plan, module, narrowed=True)
        check_zeros(plan, module)
    else:
        check_model(plan, module)
    narrow = not again and any(layer.is_narrowed for layer in plan.layers)
    network = None
    if narrow or (for_inference and has_norms(module)):
        network = network_for(plan, module, example_inputs)
    if narrow and network is not None:
        plan = with_kept(plan, network)
        module = narrowed(plan, network, module)
    put_in(plan.attention, module, plan.model)
    methods: dict[str, Method] = {}
    notes: Notes = []
    parts = Parts(module)
    for layer in plan.layers:
        methods[layer.name] = thin_out(plan, layer, parts, notes) if layer.is_masked else "dense"
    module = parts.root
    _leave_fused_paths(module)
    if for_inference:
        unpack(module)
        module = plain_where(module, lambda layer: layer.runs_by() == "dense")
        module = fold(module, network) if network is not None else module.eval()
        module = fuse(module, sample_inputs(plan, module, network, example_inputs))
        methods = {name: "dense" if method == "packed" else method for name, method in methods.items()}
    return Applied(module=module, methods=methods, notes=in_lines(notes))


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise PlanError(
            f"{type(model).__name__} cannot be copied ({reason}); plans never change the given module"
        ) from error


def _leave_fused_paths(module: nn.Module) -> None:
    """Keeps torch's encoder from its fused evaluation, which takes its linear layers' weights and runs no modules.

    Torch itself leaves that path for activations that it has not fused, which 0 stands for; nested tensors (made of
    padded batches) only exist on that path.
    """
    for child in module.modules():
        if isinstance(child, nn.TransformerEncoder | nn.TransformerEncoderLayer):
            layers = [c for c in child.modules() if isinstance(c, nn.TransformerEncoderLayer)]
            replaced = any(is_hierarchical(c.self_attn) for c in layers)
            if replaced or any(isinstance(linear, Sparse) for c in layers for linear in (c.linear1, c.linear2)):
                if isinstance(child, nn.TransformerEncoder):
                    child.use_nested_tensor = False
                else:
                    child.activation_relu_or_gelu = 0
