"""Sparse layers that run by gathering: blocks of outputs that share lists of one length, as plain torch products."""

from __future__ import annotations

import torch
from torch import nn

from advisor.errors import PlanError
from advisor.runtime.sparse import Sparse, sparse


def gathered(module: nn.Module, index: torch.Tensor) -> Sparse:
    """The same layer reading only the chosen inputs, its weights taken from `module`.

    Args:
        module: a plain convolution (not transposed) or linear layer.
        index: (blocks, kept), the inputs of each block of outputs, ascending, counted within the block's group.
    """
    blocks, kept = index.shape
    groups, (outputs, reach) = int(getattr(module, "groups", 1)), module.get_parameter("weight").shape[:2]
    if outputs % blocks or blocks % groups:
        raise PlanError(
            f"{blocks} blocks do not divide {outputs} outputs in {groups} groups; choose a block that divides the "
            "outputs of a group"
        )
    offsets = torch.arange(blocks) // (blocks // groups) * reach
    inputs = index.cpu() + offsets[:, None]
    return sparse(module, torch.arange(blocks + 1) * kept, inputs.flatten(), outputs // blocks, method="gather")


Gathered = Sparse
