"""Really smaller tensors: a copy of a module with only the kept channels of every width group."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from advisor.coupling.keep import Flags, class_scores, kept_classes
from advisor.coupling.structure import Coupling, Cut, LayerUse
from advisor.errors import PlanError
from advisor.patterns.narrowed import is_narrowed

if TYPE_CHECKING:
    from advisor.network import Network
    from advisor.patterns.option import Option

Indices = NDArray[np.int64]


def levels_from_options(network: Network, options: Mapping[str, Option]) -> dict[str, float]:
    """Group name → level, as options with width say ("in" and "out"); groups of no such layer stay out.

    Raises:
        PlanError: two layers ask for different levels of one group, or a level below 1 where nothing can be narrowed.
    """
    coupling = network.coupling
    found: dict[int, tuple[float, str]] = {}
    for name, option in options.items():
        if not is_narrowed(option):
            continue
        for side, group in zip(("in", "out"), coupling.of(name), strict=True):
            level = float(option.parameters.get(side, 1.0))
            if group is None:
                if level != 1:
                    raise PlanError(f"layer {name}: {side}={level:g}, but its {side}put never narrows; expected 1")
                continue
            known, other = found.setdefault(group, (level, name))
            if known != level:
                raise PlanError(
                    f"layer {name}: {side}={level:g}, but layer {other} has width group "
                    f"{coupling.groups[group].name!r} at {known:g}; coupled layers share one level"
                )
    return {coupling.groups[group].name: level for group, (level, _) in sorted(found.items())}


def kept_channels(
    network: Network,
    levels: Mapping[str, float],
    rounding: str = "ceil",
    weights: Mapping[str, NDArray[np.floating]] | None = None,
) -> dict[str, tuple[Indices, Indices]]:
    """Layer → (kept input channels, kept output channels), ascending, for every sparsifiable layer.

    Args:
        network: the analysis.
        levels: group name → level in (0, 1]; groups left out stay whole.
        rounding: "ceil" or "multiple8".
        weights: layer → its weight in the stored shape. Given, the channels with the largest squared filter norms
            (summed over the layers that produce them) stay; otherwise the first ones of each segment.

    Raises:
        PlanError: a level below 1 for a frozen group.
        PatternError: an unknown group or rounding, or a level outside (0, 1].
    """
    coupling = network.coupling
    transposed = {layer.name: layer.transposed for layer in network.sparsifiable}
    scores = None if weights is None else class_scores(coupling, weights, transposed)
    return kept_sides(coupling, kept_classes(coupling, levels, rounding, scores=scores))


def kept_sides(coupling: Coupling, flags: Flags) -> dict[str, tuple[Indices, Indices]]:
    """Layer → (kept input channels, kept output channels) when the channel classes with `flags` stay."""
    found: dict[str, tuple[Indices, Indices]] = {}
    for use in coupling.graph.steps:
        if isinstance(use, LayerUse) and use.layer not in found:
            sides = (flags[coupling.class_of[side]].nonzero()[0] for side in (use.inputs, use.outputs))
            inputs, outputs = sides
            found[use.layer] = (inputs, outputs)
    return found


def narrow(
    module: nn.Module,
    network: Network,
    levels: Mapping[str, float],
    *,
    rounding: str = "ceil",
    keep: Mapping[str, Indices] | None = None,
) -> nn.Module:
    """A copy of `module` with smaller tensors; `module` stays as it was.

    Args:
        module: the network's module, or one with the same parameter names and shapes.
        network: the analysis.
        levels: group name → level in (0, 1]; groups left out stay whole.
        rounding: "ceil" or "multiple8".
        keep: layer → the output channels that stay (ascending), which also fixes everything coupled to them; without
            it the first channels of each segment stay.

    Raises:
        PlanError: `keep` contradicts itself or the levels, a frozen group is to be narrowed, or `module` is another.
        PatternError: an unknown group, or a level outside (0, 1].
    """
    coupling = network.coupling
    return narrow_to(copy.deepcopy(module), network, coupling, kept_classes(coupling, levels, rounding, keep=keep))


def narrow_to(module: nn.Module, network: Network, coupling: Coupling, flags: Flags) -> nn.Module:
    """Cuts `module` itself down to the channel classes with `flags`."""
    by_name: dict[str, list[Cut]] = defaultdict(list)
    for cut in coupling.cuts:
        if not flags[coupling.class_of[cut.nodes]].all():
            by_name[cut.name].append(cut)
    depthwise = {layer.weight: layer for layer in network.sparsifiable if 1 < layer.groups == layer.in_channels}
    with torch.no_grad():
        for name, cuts in by_name.items():
            holders = list(_holders(module, name))
            old = holders[0][2]
            new = _cut(old, name, cuts, coupling, flags)
            for owner, key, _ in holders:
                _put(owner, key, new)
                _mend(owner, key, name in depthwise)
    for path, attribute, nodes in coupling.sizes:
        kept = int(flags[coupling.class_of[nodes]].sum())
        if kept < len(nodes):
            _resize(module.get_submodule(path), attribute, len(nodes), kept)
    return module


def _holders(module: nn.Module, name: str) -> Iterator[tuple[nn.Module, str, torch.Tensor]]:
    """Every (owner, key) of the tensor with a dotted name; tied weights have several."""
    path, _, key = name.rpartition(".")
    try:
        tensor = getattr(module.get_submodule(path), key)
    except AttributeError:
        tensor = None
    if not isinstance(tensor, torch.Tensor):
        raise PlanError(
            f"the module has no parameter or buffer {name!r}; apply the plan to the network it was made for"
        )
    for owner in module.modules():
        for held in (owner._parameters, owner._buffers):
            for own, candidate in held.items():
                if candidate is tensor:
                    yield owner, own, tensor


def _cut(old: torch.Tensor, name: str, cuts: list[Cut], coupling: Coupling, flags: Flags) -> torch.Tensor:
    tensor = old.detach()
    # The grouped axis first: which of its positions stay depends on the row's group, and rows are still whole.
    for cut in sorted(cuts, key=lambda c: -c.groups):
        staying = flags[coupling.class_of[cut.nodes]]
        if tensor.dim() <= cut.axis or tensor.shape[cut.axis] * cut.groups != len(staying):
            raise PlanError(
                f"{name} has shape {tuple(old.shape)}, expected {len(staying) // cut.groups} on axis {cut.axis}; "
                "apply the plan to the network it was made for"
            )
        if cut.groups == 1:
            index = torch.from_numpy(staying.nonzero()[0]).to(tensor.device)
            tensor = tensor.index_select(cut.axis, index)
            continue
        parts = []
        for part, stays in zip(tensor.chunk(cut.groups, 0), staying.reshape(cut.groups, -1), strict=True):
            index = torch.from_numpy(stays.nonzero()[0]).to(tensor.device)
            parts.append(part.index_select(cut.axis, index))
        if len({part.shape[cut.axis] for part in parts}) > 1:
            raise PlanError(
                f"{name}: its {cut.groups} groups would keep different numbers of channels; choose equal ones"
            )
        tensor = torch.cat(parts)
    tensor = tensor.clone(memory_format=torch.preserve_format)
    return nn.Parameter(tensor, requires_grad=old.requires_grad) if isinstance(old, nn.Parameter) else tensor


def _put(owner: nn.Module, key: str, new: torch.Tensor) -> None:
    held: dict[str, Any] = owner._parameters if key in owner._parameters else owner._buffers
    held[key] = new


def _mend(owner: nn.Module, key: str, depthwise: bool) -> None:
    """Lets the numbers that a module keeps beside its tensors tell the truth again."""
    if key == "weight" and isinstance(owner, _ConvNd):
        rows, columns = owner.weight.shape[:2]
        if depthwise:
            owner.groups = rows // (1 if owner.transposed else owner.out_channels // owner.in_channels)
        owner.in_channels = rows if owner.transposed else columns * owner.groups
        owner.out_channels = columns * owner.groups if owner.transposed else rows
    elif key == "weight" and isinstance(owner, nn.Linear):
        owner.out_features, owner.in_features = owner.weight.shape
    elif key == "weight" and isinstance(owner, nn.Embedding | nn.EmbeddingBag):
        owner.num_embeddings, owner.embedding_dim = owner.weight.shape
    elif key == "weight" and isinstance(owner, nn.PReLU):
        owner.num_parameters = owner.weight.numel()
    elif isinstance(owner, _NormBase):
        owner.num_features = len(owner._buffers.get(key) if key in owner._buffers else owner._parameters[key])  # type: ignore[arg-type]
    elif isinstance(owner, nn.GroupNorm):
        owner.num_channels = len(owner._parameters[key])  # type: ignore[arg-type]


def _resize(owner: nn.Module, attribute: str, before: int, after: int) -> None:
    old = getattr(owner, attribute, None)
    if isinstance(old, int) and old == before:
        setattr(owner, attribute, after)
    elif isinstance(old, list | tuple) and list(old) == [before]:
        setattr(owner, attribute, type(old)([after]))
