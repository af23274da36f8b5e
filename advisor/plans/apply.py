"""From a plan and a module to the module with its layers sparse or narrower."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from advisor.errors import PlanError
from advisor.plans.again import check_zeros, dense_again, is_applied
from advisor.plans.kept import narrowed, with_kept
from advisor.plans.masks import connections_of, mask_of
from advisor.plans.match import check_is_module, check_model, network_for
from advisor.runtime.execution import Method, method_of
from advisor.runtime.fold import fold, has_norms
from advisor.runtime.gather import Gathered, can_replace, gathered
from advisor.runtime.packed import pack_shared, unpack

if TYPE_CHECKING:
    from advisor.plans.plan import Plan, PlanLayer

Holders = list[tuple[nn.Module, str]]


@dataclass(frozen=True, kw_only=True)
class Applied:
    """A module under a plan, and what really runs in it.

    Attributes:
        methods: layer → "dense" (also narrower, and with zeros baked in), "gather", or "packed" (kept values scattered
            into a dense weight at every step).
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
        for_inference: evaluation mode, batch norms folded into the layers before them, masked weights baked into
            plain dense ones; it is meant to run, not to train.
        example_inputs: for networks that take other than float inputs, or other shapes than the plan was made with;
            needed only where the module has to be analysed again (width, for_inference).

    Raises:
        PlanError: no module, or the plan belongs to another network; the first difference is named.
    """
    check_is_module(model)
    again = is_applied(plan, model)
    if again and not for_inference:
        raise PlanError(
            f"plan for {plan.model!r}: the module is under a plan already; pass the dense one, or for_inference=True"
        )
    module = _copied(model)
    if again:
        module = dense_again(module)
        check_model(plan, module, narrowed=True)
        check_zeros(plan, module)
    else:
        check_model(plan, module)
    narrow = not again and any(layer.pattern == "width" for layer in plan.layers)
    network = None
    if narrow or (for_inference and has_norms(module)):
        network = network_for(plan, module, example_inputs)
    if narrow and network is not None:
        plan = with_kept(plan, network)
        module = narrowed(plan, network, module)
    methods: dict[str, Method] = {}
    notes: list[str] = []
    parts = _Parts(module)
    for layer in plan.layers:
        if layer.pattern in ("dense", "width"):
            methods[layer.name] = "dense"
        else:
            methods[layer.name] = _thin_out(plan, layer, parts, notes)
    module = parts.root
    _leave_fused_paths(module)
    if for_inference:
        unpack(module)
        module = fold(module, network) if network is not None else module.eval()
        methods = {name: "dense" if method == "packed" else method for name, method in methods.items()}
    return Applied(module=module, methods=methods, notes=tuple(notes))


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
            if any(isinstance(linear, Gathered) for c in layers for linear in (c.linear1, c.linear2)):
                if isinstance(child, nn.TransformerEncoder):
                    child.use_nested_tensor = False
                else:
                    child.activation_relu_or_gelu = 0


class _Parts:
    """Who holds what in a module, gathered once: layers are many and so are modules."""

    def __init__(self, module: nn.Module) -> None:
        self.holders: dict[int, Holders] = {}
        self.places: dict[int, Holders] = {}  # id of a module → (parent, name) of every place where it stands
        self.elsewhere: set[int] = set()  # ids of modules that attributes, lists or dicts of others point to, too
        self.root = module
        for parent in module.modules():
            for name, parameter in parent._parameters.items():
                if parameter is not None:
                    self.holders.setdefault(id(parameter), []).append((parent, name))
            for name, child in parent._modules.items():
                if child is not None:
                    self.places.setdefault(id(child), []).append((parent, name))
            for key, value in vars(parent).items():
                if key != "_modules":
                    self.elsewhere.update(id(item) for item in _flat(value) if isinstance(item, nn.Module))

    def replace(self, old: nn.Module, new: nn.Module) -> None:
        for parent, name in self.places.get(id(old), []):
            parent._modules[name] = new
        if self.root is old:
            self.root = new

    def weight(self, name: str) -> tuple[nn.Module, str]:
        owner, _, attribute = name.rpartition(".")
        return self.root.get_submodule(owner), attribute


def _flat(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, list | tuple | set) else [value]


def _thin_out(plan: Plan, layer: PlanLayer, parts: _Parts, notes: list[str]) -> Method:
    """Replaces or packs one layer in place."""
    owner, attribute = parts.weight(layer.weight)
    holders = parts.holders[id(owner._parameters[attribute])]
    if method_of(layer.layer, layer.option, training=True) == "gather":
        connections = connections_of(plan, layer)
        counts = connections.sum(axis=1)
        reason = _no_gather(owner, attribute, holders, parts)
        if not reason and counts.min() != counts.max():
            reason = "its blocks keep different numbers of inputs"
        if not reason:
            index = torch.from_numpy(connections.nonzero()[1].reshape(len(connections), -1))
            smaller = gathered(owner, index)
            parts.replace(owner, smaller)
            return "gather"
        notes.append(f"layer {layer.name} runs masked instead of gathering its inputs: {reason}")
    pack_shared(holders, torch.from_numpy(mask_of(plan, layer)))
    return "packed"


def _no_gather(owner: nn.Module, attribute: str, holders: Holders, parts: _Parts) -> str:
    """Why the module cannot be replaced by one that gathers; "" where it can."""
    if attribute != "weight" or not can_replace(owner):
        return f"{type(owner).__name__} has a forward of its own"
    if len(holders) > 1:
        return "its weight is shared with another module"
    if id(owner) in parts.elsewhere:
        return "another module keeps a reference of its own to it"
    return ""
