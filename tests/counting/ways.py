"""One network, traced in every way there is; all must count the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from advisor.counting.layers import Counted, build_layers
from advisor.exporting import trace
from advisor.network import OpGraph
from advisor.recording import record
from advisor.trace import aliases, evaluation, module_kinds

WAYS = ("exported on cpu", "exported on meta", "recorded on cpu", "recorded on meta")


def graph_of(way: str, build: Callable[[], nn.Module], inputs: tuple[Any, ...]) -> tuple[nn.Module, OpGraph]:
    """Inputs are shapes of float tensors, or tensors."""
    device = way.rpartition(" ")[2]
    with torch.device(device):
        module = build()
    given = tuple((i if isinstance(i, Tensor) else torch.zeros(i)).to(device) for i in inputs)
    follow = trace if way.startswith("exported") else record
    with evaluation(module):
        return module, follow(module, given)


def counted(way: str, build: Callable[[], nn.Module], inputs: tuple[Any, ...]) -> Counted:
    module, graph = graph_of(way, build, inputs)
    return build_layers(graph, aliases(module), module_kinds(module))


def macs_of(result: Counted) -> int:
    return sum(layer.macs for layer in result.layers)


def params_of(result: Counted) -> int:
    return sum(layer.params for layer in result.layers)
