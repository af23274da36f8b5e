"""One execution as a module of its own, so that it can be timed alone."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from advisor.runtime.execution import Execution

_CONVOLUTIONS: dict[str, type[nn.Module]] = {
    "conv1d": nn.Conv1d,
    "conv2d": nn.Conv2d,
    "conv3d": nn.Conv3d,
    "conv_transpose1d": nn.ConvTranspose1d,
    "conv_transpose2d": nn.ConvTranspose2d,
    "conv_transpose3d": nn.ConvTranspose3d,
}


def build(execution: Execution) -> tuple[nn.Module, torch.Tensor]:
    """The module and a standard-normal input; the same numbers each time, and torch's own stream left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = dense_module(execution)
        inputs = torch.randn(execution.input_shape)
        if execution.method in ("gather", "direct"):
            from advisor.runtime.sparse import sparse

            method: Any = execution.method
            module = sparse(module, *lists_of(execution), execution.block, method=method)
        elif execution.method == "packed":
            from advisor.runtime.packed import pack

            together = execution.block or 1
            mask = torch.zeros(prod(execution.weight_shape) // together, together, dtype=torch.bool)
            mask[torch.randperm(len(mask))[: execution.kept // together]] = True
            pack(module, "weight", mask.view(execution.weight_shape))
    return module, inputs


def lists_of(execution: Execution) -> tuple[torch.Tensor, torch.Tensor]:
    """Drawn lists of inputs, as even as their number allows: (blocks + 1,) and (rows,), counted over all groups."""
    from advisor.patterns.draw import keys, smallest

    blocks, reach = execution.out_channels // execution.block, execution.weight_shape[1]
    # "gather" counts the inputs of one block, which are as many in each; "direct" those of all.
    fewer, longer = (execution.kept, 0) if execution.method == "gather" else divmod(execution.kept, blocks)
    drawn = keys(0, (blocks, reach))
    chosen = np.concatenate([smallest(drawn[:longer], fewer + 1), smallest(drawn[longer:], fewer)])
    block, column = torch.from_numpy(chosen).nonzero(as_tuple=True)
    indptr = torch.cat([torch.zeros(1, dtype=torch.long), torch.from_numpy(chosen.sum(axis=1)).cumsum(0)])
    return indptr.int(), (column + block // (blocks // execution.groups) * reach).int()


def dense_module(execution: Execution) -> nn.Module:
    """The plain layer with this execution's shapes, as torch initialises it."""
    e = execution
    if e.kind == "linear":
        return nn.Linear(e.in_channels, e.out_channels, bias=e.bias)
    sizes = {"stride": e.stride, "padding": e.padding, "dilation": e.dilation}
    if e.transposed:
        sizes["output_padding"] = e.output_padding or (0,) * len(e.stride)
    kernel = e.weight_shape[2:]
    return _CONVOLUTIONS[e.kind](e.in_channels, e.out_channels, kernel, groups=e.groups, bias=e.bias, **sizes)
