"""Which channels can leave a network without changing what it computes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from advisor.counting.arguments import base_name, operands
from advisor.coupling.keep import Flags
from advisor.coupling.structure import ChannelGraph, Coupling, Edges, LayerUse, Nodes
from advisor.coupling.trial import tried
from advisor.plans.thin import Parts

if TYPE_CHECKING:
    from advisor.network import Layer, Network

# Channels without parameters of their own still count in these norms' statistics.
_ACROSS_CHANNELS = frozenset(
    ["layer_norm", "native_layer_norm", "rms_norm", "_fused_rms_norm", "group_norm", "native_group_norm"]
)


class Removable:
    """The largest set of channels, within those that may go, that leaves every output as it was.

    A channel class (channels that live and die together) goes where every layer that stays either reads it as a
    constant, or has no weight for it. What is constant may differ from reader to reader. Found from above: all that may
    go goes, then whatever a staying output needs comes back, until nothing changes.

    Attributes:
        stays: (classes,) which channel classes are left.
        reasons: class → why it came back.
    """

    def __init__(
        self,
        network: Network,
        module: nn.Module,
        constants: Mapping[str, tuple[Tensor, ...]],
        keep: Mapping[str, Nodes] | None,
    ) -> None:
        """
        Args:
            network: the analysis.
            module: with the weights in question.
            constants: of `constant_inputs`.
            keep: layer → output channels that stay; all others of these layers may go, and all channels of layers that
                are not named stay, unless they are coupled with one that may go. None: everything may go.
        """
        self.coupling = tried(network)
        self.reasons: dict[int, str] = {}
        self._uses = [step for step in self.coupling.graph.steps if isinstance(step, LayerUse)]
        self.stays: Flags = _asked(self.coupling, self._uses, keep)
        self.asked = ~self.stays
        self._frozen(network)
        layers = {layer.name: layer for layer in network.sparsifiable}
        parts = Parts(module)
        needs = {name: _needs(layer, module, constants.get(name, ()), parts) for name, layer in layers.items()}
        calls = {name: sum(use.layer == name for use in self._uses) for name in layers}
        for name, layer in layers.items():
            if not layer.is_module or len(constants.get(name, ())) != calls[name]:
                needs[name] = np.ones((layer.out_channels, layer.in_channels // layer.groups), dtype=bool)
        # Pieces are made equal, and emptied layers filled, only once nothing else comes back by itself.
        while self._needed(layers, needs) or self._equal() or self._filled():
            pass

    def _back(self, nodes: Nodes, reason: str) -> bool:
        classes = np.unique(self.coupling.class_of[nodes])
        classes = classes[~self.stays[classes]]
        self.stays[classes] = True
        for c in classes.tolist():
            self.reasons.setdefault(c, reason)
        return len(classes) > 0

    def _frozen(self, network: Network) -> None:
        """What may never go, whatever it is worth."""
        for group in self.coupling.groups:
            for segment in group.segments:
                if reason := segment.frozen or group.frozen:
                    for c in segment.channels:
                        if not self.stays[c]:
                            self.stays[c] = True
                            self.reasons.setdefault(c, reason)
        for index in np.flatnonzero(self.coupling.group_of < 0).tolist():
            self.stays[index] = True
        used = _used(self.coupling.graph)
        for step in self.coupling.graph.steps:
            if isinstance(step, Edges) and not step.tie:
                self._back(step.source[used[step.target]], "other channels are computed from it")
        for op in network.ops.ops:
            if base_name(op.target) in _ACROSS_CHANNELS:
                for value in operands(op):
                    if value in self.coupling.labels:
                        self._back(self.coupling.labels[value].ravel(), "a norm across channels counts it")

    def _needed(self, layers: Mapping[str, Layer], needs: Mapping[str, NDArray[np.bool_]]) -> bool:
        changed = False
        for use in self._uses:
            layer = layers[use.layer]
            stays_in, stays_out = (self.stays[self.coupling.class_of[side]] for side in (use.inputs, use.outputs))
            rows = (needs[use.layer] & stays_out[:, None]).reshape(layer.groups, -1, needs[use.layer].shape[1])
            needed = rows.any(axis=1).ravel() & ~stays_in
            if needed.any():
                changed |= self._back(use.inputs[needed], f"layer {use.layer} reads it, and it is not constant there")
        return changed

    def _equal(self) -> bool:
        changed = False
        for parts in self.coupling.equal:
            most = max(int(self.stays[part].sum()) for part in parts)
            for part in parts:
                gone = part[~self.stays[part]][: most - int(self.stays[part].sum())]
                self.stays[gone] = True
                for c in gone.tolist():
                    self.reasons.setdefault(c, "pieces of one tensor keep equally many channels")
                changed |= len(gone) > 0
        return changed

    def _filled(self) -> bool:
        for use in self._uses:
            for side in (use.inputs, use.outputs):
                if not self.stays[self.coupling.class_of[side]].any():
                    return self._back(side[:1], f"layer {use.layer} needs one channel at least")
        return False


def _used(graph: ChannelGraph) -> NDArray[np.bool_]:
    """(nodes,) whether a layer or the output reads what a node becomes; nobody reads a norm's saved statistics."""
    used = np.zeros(graph.nodes, dtype=bool)
    used[graph.sinks] = True
    for step in reversed(graph.steps):
        if isinstance(step, LayerUse):
            used[step.inputs] = True
        else:
            np.logical_or.at(used, step.source, used[step.target])
    return used


def _asked(coupling: Coupling, uses: list[LayerUse], keep: Mapping[str, Nodes] | None) -> Flags:
    stays = np.full(len(coupling.group_of), keep is not None, dtype=bool)
    for use in uses if keep is not None else ():
        if keep is not None and use.layer in keep:
            gone = np.ones(len(use.outputs), dtype=bool)
            gone[np.asarray(keep[use.layer], dtype=np.int64)] = False
            stays[coupling.class_of[use.outputs[gone]]] = False
    return stays


def _needs(layer: Layer, module: nn.Module, calls: tuple[Tensor, ...], parts: Parts) -> NDArray[np.bool_]:
    """(outputs, inputs of a group): the inputs that an output needs: they vary, and it has weights for them."""
    if not layer.is_module or not calls:
        return np.ones((layer.out_channels, layer.in_channels // layer.groups), dtype=bool)
    child = module.get_submodule(layer.name)
    varies = torch.zeros(layer.in_channels, dtype=torch.bool)
    axis = 0 if layer.is_conv else -1
    first = calls[0]
    for given in calls:
        unknown = given.isnan()
        if given.shape != first.shape:
            unknown = torch.ones_like(unknown)
        elif len(calls) > 1:
            unknown = unknown | (given != first)
        if id(child) in parts.elsewhere:  # such a module cannot be replaced by one that adds a map
            unknown = unknown | (given != 0)
        flat = unknown.movedim(axis, 0).reshape(layer.in_channels, -1)
        varies |= flat.any(1).cpu()
    found: NDArray[np.bool_] = weights_there(layer, child) & np.repeat(
        varies.numpy().reshape(layer.groups, 1, -1), layer.out_channels // layer.groups, axis=1
    ).reshape(layer.out_channels, -1)
    return found


def weights_there(layer: Layer, child: nn.Module) -> NDArray[np.bool_]:
    """(outputs, inputs of a group): whether any tap has a weight that is not zero."""
    weight = child.get_parameter("weight").detach()
    there = (weight != 0).flatten(2).any(2) if weight.dim() > 2 else weight != 0
    if layer.transposed:
        # (in, out/groups) → per group (out/groups, in/groups)
        there = there.view(layer.groups, -1, there.shape[1]).transpose(1, 2).reshape(layer.out_channels, -1)
    found: NDArray[np.bool_] = there.cpu().numpy()
    return found


def stayed(removable: Removable, network: Network) -> Iterator[tuple[str, int, str]]:
    """(layer, filter, why) of every output channel that was asked to go and had to stay."""
    done: set[str] = set()
    for use in removable.coupling.graph.steps:
        if isinstance(use, LayerUse) and use.layer not in done:
            done.add(use.layer)
            for channel, c in enumerate(removable.coupling.class_of[use.outputs].tolist()):
                if removable.asked[c] and removable.stays[c]:
                    yield use.layer, channel, removable.reasons.get(c, "it is needed")
