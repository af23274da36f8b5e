"""One layer of a module made sparse: lists of inputs with the kept weights, or its weight packed where it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from advisor.plans.masks import mask_within, units_of
from advisor.runtime.connections import Connections
from advisor.runtime.methods import Method, method_here, method_of, why_no_kernels
from advisor.runtime.packed import pack_shared
from advisor.runtime.sparse import Sparse, SparseMethod, can_replace, sparse

if TYPE_CHECKING:
    from advisor.plans.plan import Plan, PlanLayer

Holders = list[tuple[nn.Module, str]]
Notes = list[tuple[str, str, str]]  # what, why, layer


class Parts:
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


def thin_out(plan: Plan, layer: PlanLayer, parts: Parts, notes: Notes) -> Method:
    """Replaces or packs one layer in place. Width, where the layer has some, was applied before."""
    smaller, option = layer.thinned
    owner, attribute = parts.weight(layer.weight)
    weight = owner.get_parameter(attribute)
    holders = parts.holders[id(weight)]
    if _is_listed(layer):
        reason = _no_list(owner, attribute, holders, parts)
        if not reason:
            method, missing = method_here(smaller, option, layer.method, training=True, device=weight.device.type)
            units, block = units_of(plan, layer)
            held = Connections.from_units(units, block, smaller.groups)
            listed = sparse(owner, held.indptr, held.inputs, block, method=_wanted(layer, method, held))
            parts.replace(owner, listed)
            found = listed.runs_by()
            runs: Method = "packed" if found == "dense" else found
            if runs != method and not missing:
                missing = _why_not(listed, method)
            if missing:
                notes.append((f"run by {runs!r} instead of {layer.method or method!r}", missing, layer.name))
            return runs
        notes.append(("run masked instead of sparse", reason, layer.name))
    pack_shared(holders, torch.from_numpy(mask_within(plan, layer)))
    return "packed"


def _is_listed(layer: PlanLayer) -> bool:
    """Whether the layer stores lists of inputs and the kept weights in the order of the kernels.

    The plan alone decides, so that checkpoints go from a machine with kernels to one without.
    """
    if layer.method is not None:
        return (
            layer.method in ("direct", "gather")
            and not method_here(layer.layer, layer.option, layer.method, have=True)[1]
        )
    return any(method_of(layer.layer, layer.option, have=have) in ("direct", "gather") for have in (True, False))


def _wanted(layer: PlanLayer, method: Method, held: Connections) -> SparseMethod:
    """What the sparse module is told to run by; it finds out by itself, at each call, what its device lacks."""
    if method == "direct" or (method == "gather" and held.kept):
        return method
    elsewhere, _ = method_here(layer.layer, layer.option, layer.method, training=True, have=True)
    return "direct" if elsewhere == "direct" else "dense"


def _why_not(listed: Sparse, method: Method) -> str:
    if method == "gather":
        return "its blocks keep different numbers of inputs"
    return why_no_kernels(listed.weight.device.type) or f"the kernels do not take {listed.weight.dtype} in such layers"


def _no_list(owner: nn.Module, attribute: str, holders: Holders, parts: Parts) -> str:
    """Why the module cannot be replaced by a sparse one; "" where it can."""
    if attribute != "weight" or not can_replace(owner):
        return f"{type(owner).__name__} has a forward of its own"
    if len(holders) > 1:
        return "its weight is shared with another module"
    if id(owner) in parts.elsewhere:
        return "another module keeps a reference of its own to it"
    return ""


def in_lines(notes: Notes) -> tuple[str, ...]:
    """One line for each thing that happened, with the layers that it happened to."""
    lines: dict[tuple[str, str], list[str]] = {}
    for what, why, layer in notes:
        lines.setdefault((what, why), []).append(layer)
    return tuple(f"layer{'s' if len(n) > 1 else ''} {_named(n)} {what}: {why}" for (what, why), n in lines.items())


def _named(layers: list[str]) -> str:
    return ", ".join(layers[:3]) + (f" and {len(layers) - 3} more" if len(layers) > 3 else "")
