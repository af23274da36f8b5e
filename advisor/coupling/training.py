"""What training reaches and evaluation does not (auxiliary heads): its parameters follow the same channels."""

from __future__ import annotations

import copy
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils._pytree import tree_map_only

from advisor.coupling.graph import aliases_of, walk_ops
from advisor.coupling.structure import LayerUse
from advisor.coupling.walker import Walker

if TYPE_CHECKING:
    from advisor.network import Network, OpGraph


def walk_training(network: Network, walker: Walker) -> None:
    """Goes on with `walker` through a training pass, where evaluation left parameters unreached.

    The layers that only training reaches keep their own outputs whole, and their inputs follow what they read. A pass
    that fails on meta tensors is left out; the trial in `trial.py` then freezes what breaks.
    """
    from advisor.counting.layers import build_layers

    if network.module is None or network.unreached_params == 0:
        return
    module = meta_copy(network.module).train()
    try:
        graph = recorded(module, twice(on_meta(network.example_inputs)))
    except Exception:
        return
    aliases = aliases_of(module)
    layers = [layer for layer in build_layers(graph, aliases).layers if layer.weight is not None]
    walker.owned.update(layer.weight for layer in layers if layer.weight is not None)
    known = {layer.name for layer in network.sparsifiable}
    training = walk_ops(graph, layers, aliases, beside=walker)
    for step in training.steps:
        if isinstance(step, LayerUse) and step.layer not in known:
            walker.freeze(step.outputs, f"{step.layer} runs in training only")


def on_meta(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The inputs' shapes without their memory."""
    moved: tuple[Any, ...] = tree_map_only(torch.Tensor, lambda t: t.to("meta"), inputs)
    return moved


def twice(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The batch twice: batch norm in training refuses a single value per channel."""
    doubled: tuple[Any, ...] = tree_map_only(torch.Tensor, lambda t: torch.cat([t, t]) if t.dim() else t, inputs)
    return doubled


def recorded(module: nn.Module, inputs: tuple[Any, ...]) -> OpGraph:
    """One run in the module's own mode, recorded without its warnings."""
    from advisor.recording import record

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return record(module, inputs)


def meta_copy(module: nn.Module) -> nn.Module:
    """A copy whose parameters and buffers take no memory."""
    memo: dict[int, Any] = {}
    for p in module.parameters():
        memo[id(p)] = nn.Parameter(p.detach().to("meta"), requires_grad=p.requires_grad)
    for b in module.buffers():
        memo.setdefault(id(b), b.detach().to("meta"))
    return copy.deepcopy(module, memo)
