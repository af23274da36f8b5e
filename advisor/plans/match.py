"""Whether a plan belongs to a module, and the analysis of that module where applying needs one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd

from advisor.errors import ModelError, PlanError
from advisor.network import Shape
from advisor.plans.attention import added_names, are_in
from advisor.plans.checks import check_has_network, check_plan
from advisor.runtime.execution import shape_under

if TYPE_CHECKING:
    from advisor.network import Network
    from advisor.plans.plan import Plan, PlanLayer


def check_model(plan: Plan, model: nn.Module, *, narrowed: bool = False) -> None:
    """Compares names and shapes of the weights, and the number of parameters.

    Args:
        narrowed: the plan's width has been applied to `model` already.

    Raises:
        PlanError: the first difference.
    """
    check_has_network(plan)
    check_plan(plan)
    check_is_module(model)
    found = dict(model.named_parameters(remove_duplicate=False))
    for layer in plan.layers:
        shape, groups = shape_under(layer.layer, layer.option) if narrowed else (layer.weight_shape, layer.groups)
        if reason := _difference(layer, model, found, shape, groups):
            raise PlanError(f"plan for {plan.model!r}: {reason}; the plan belongs to another network")
    line = plan.costs.get("params")
    if line and not (narrowed and any(layer.is_narrowed for layer in plan.layers)):
        params = sum(p.numel() for p in model.parameters())
        if narrowed and are_in(plan.attention, model):
            params -= sum(layer.added_params for layer in plan.attention)
        if round(line.dense) != params:
            raise PlanError(
                f"plan for {plan.model!r}: it was made for {round(line.dense):,} parameters, the module has "
                f"{params:,}; the plan belongs to another network"
            )


def check_is_module(model: object) -> None:
    """Raises PlanError for what is no module."""
    if not isinstance(model, nn.Module):
        raise PlanError(f"cannot apply a plan to a {type(model).__name__}; expected a torch.nn.Module")


def _difference(layer: PlanLayer, model: nn.Module, found: dict[str, nn.Parameter], shape: Shape, fitting: int) -> str:
    weight = found.get(layer.weight)
    if weight is None:
        return f"layer {layer.name} needs a parameter {layer.weight!r}, the module has none of that name"
    if tuple(weight.shape) != shape:
        return f"layer {layer.name} has a weight of shape {tuple(weight.shape)}, expected {shape}"
    owner = model.get_submodule(layer.weight.rpartition(".")[0])
    groups = getattr(owner, "groups", None)
    if layer.is_module and layer.layer.is_conv and isinstance(groups, int) and groups != fitting:
        return f"layer {layer.name} has {groups} groups, expected {fitting}"
    if isinstance(owner, _ConvTransposeNd) != layer.layer.transposed and layer.is_module:
        return f"layer {layer.name} is a {type(owner).__name__}, expected a {layer.kind}"
    return ""


def network_for(plan: Plan, model: nn.Module, example_inputs: Any = None) -> Network:
    """The plan's own analysis where it was made from such a module, otherwise a new one.

    Args:
        example_inputs: as `advisor.analyze` takes them; otherwise zeros in the plan's input shapes.

    Raises:
        PlanError: the module cannot be run on such inputs, or its layers are not the plan's.
    """
    from advisor.trace import analyze

    own = plan.network
    if own is not None and own.module is not None and _same_structure(model, own.module):
        return own
    if example_inputs is None:
        example_inputs = own.example_inputs if own is not None and own.example_inputs else _zeros(plan, model)
    try:
        network = analyze(model, example_inputs, name=plan.model)
    except ModelError as error:
        raise PlanError(f"plan for {plan.model!r}: {error}; pass example_inputs that the module takes") from error
    # Strict, since what applying does next follows the operators.
    added = added_names(plan.attention)
    known = [layer for layer in network.sparsifiable if not layer.name.startswith(added)]
    for planned, layer in zip(plan.layers, known, strict=False):
        if planned.name != layer.name:
            raise PlanError(
                f"plan for {plan.model!r}: its layer {planned.name} stands where the module runs {layer.name}; the "
                "plan belongs to another network"
            )
    if len(plan.layers) != len(known):
        raise PlanError(
            f"plan for {plan.model!r}: it has {len(plan.layers)} layers, the module runs {len(known)}; "
            "the plan belongs to another network"
        )
    return network


def sample_inputs(plan: Plan, model: nn.Module, network: Network | None, example_inputs: Any = None) -> tuple[Any, ...]:
    """Positional arguments to run `model` on: those given, or random numbers in the shapes of the analysis."""
    from torch.utils._pytree import tree_map

    from advisor.trace import as_inputs

    if example_inputs is not None:
        return as_inputs(example_inputs, model)
    network = network or plan.network
    known = network.example_inputs if network is not None else None
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(()))
    generator = torch.Generator().manual_seed(0)

    def filled(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        if not value.is_floating_point():
            return value.to(like.device)
        return torch.randn(value.shape, generator=generator).to(like.device, like.dtype)

    inputs: tuple[Any, ...] = tree_map(filled, known or _zeros(plan, model))
    return inputs


def _same_structure(model: nn.Module, other: nn.Module) -> bool:
    """Same modules under the same names with the same settings, as far as they print them, and the same shapes."""
    return model is other or (list(_shapes(model)) == list(_shapes(other)) and repr(model) == repr(other))


def _shapes(model: nn.Module) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name, tensor in (*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)):
        yield name, tuple(tensor.shape)


def _zeros(plan: Plan, model: nn.Module) -> tuple[torch.Tensor, ...]:
    """Inputs in the plan's shapes, in the module's own precision and place."""
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(()))
    return tuple(torch.zeros(shape, dtype=like.dtype, device=like.device) for shape in plan.input_shapes)
