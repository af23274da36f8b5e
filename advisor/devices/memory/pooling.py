"""Pooling on the compiled kernels makes no indices, where torch's own does."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn

from advisor.devices.memory.scratch import NOTHING, Call, Scratch, rule
from advisor.runtime import pooling
from advisor.runtime.native.library import available


@rule("aten.max_pool2d_with_indices.default")
def _max_pool(call: Call) -> Scratch:
    return Scratch(unmade=(1,)) if _on_kernels(call.module, call.args["self"]) else NOTHING


def _on_kernels(module: nn.Module | None, x: Any) -> bool:
    """Whether the real run takes the kernels: they look at real tensors only, so a followed run never does."""
    if torch.is_grad_enabled() and x.requires_grad:
        return False
    plain = x.dtype is torch.float32 and x.device.type == "cpu" and x.dim() == 4 and x.is_contiguous()
    return plain and _pools(module) and available()


def _pools(module: nn.Module | None) -> bool:
    if isinstance(module, fx.GraphModule):
        return any(node.target is pooling.max_pool2d for node in module.graph.nodes)
    return isinstance(module, pooling.MaxPool2d)
