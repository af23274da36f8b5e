"""The same piece with sparse layers in it, as a plan would leave it."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from advisor.runtime.execution import Execution
from advisor.runtime.fuse import fuse
from advisor.runtime.sparse import sparse
from advisor.runtime.standalone import lists_of

_BLOCKS = (1, 1, 1, 4, 8, 16, 16, 32, 64)
_SHARE = 0.85  # of the layers that can be thinned out
_DENSITIES = (0.02, 0.75)
_DRAWN = 4_000_000  # connections of a layer up to which lists are drawn as plans draw them
_MOST_KEPT = 32_000_000  # entries in a layer's lists


def thinned(module: nn.Module, inputs: Tensor, number: int, *, for_inference: bool = True) -> nn.Module | None:
    """A copy of `module` whose convolutions and linear layers keep drawn connections and run by the sparse kernels.

    Activations and residual additions are fused as `Plan.apply(for_inference=True)` does. None where no layer can be.
    """
    rng = np.random.Generator(np.random.PCG64([21, number]))
    made = copy.deepcopy(module)
    changed = 0
    for parent in list(made.modules()):
        if isinstance(parent, nn.MultiheadAttention):
            continue  # it reads its projection's weight itself
        for name, child in list(parent._modules.items()):
            if type(child) not in (nn.Conv2d, nn.Linear) or rng.random() > _SHARE:
                continue
            if (layer := _thin(child, rng)) is not None:
                parent._modules[name] = layer
                changed += 1
    if not changed:
        return None
    return fuse(made.eval(), (inputs,)) if for_inference else made


def _thin(dense: Any, rng: np.random.Generator) -> nn.Module | None:
    weight, groups = tuple(dense.weight.shape), int(getattr(dense, "groups", 1))
    each, reach = weight[0] // groups, weight[1]
    blocks = [b for b in _BLOCKS if each % b == 0 and each // b > 1] or [1]
    block = int(blocks[int(rng.integers(len(blocks)))])
    density = float(np.exp(rng.uniform(*np.log(_DENSITIES))))
    density = min(density, _MOST_KEPT * block / (weight[0] * reach))
    kept = int(np.ceil(density * reach)) * (weight[0] // block)
    if reach < 8 or kept < 1:
        return None
    spatial = len(weight) - 2
    execution = Execution(
        kind=f"conv{spatial}d" if spatial else "linear",
        method="direct",
        input_shape=(1, reach * groups, *(2 * k for k in weight[2:])),
        weight_shape=weight,
        stride=(1,) * spatial,
        padding=(0,) * spatial,
        dilation=(1,) * spatial,
        groups=groups,
        kept=kept,
        block=block,
    )
    few = weight[0] // block * reach <= _DRAWN
    return sparse(dense, *(lists_of(execution) if few else _spread_lists(execution)), block, method="direct")


def _spread_lists(execution: Execution) -> tuple[Tensor, Tensor]:
    """Lists of inputs like those of `lists_of`, each input from a stretch of its own: quick and small to draw."""
    rng = np.random.Generator(np.random.PCG64(22))
    blocks, reach = execution.out_channels // execution.block, execution.weight_shape[1]
    each = execution.kept // blocks
    ends = np.arange(each + 1) * reach // each
    start, length = ends[:-1], np.diff(ends)
    rows = np.empty((blocks, each), dtype=np.int32)
    for index, row in enumerate(rows):
        row[:] = start + (rng.random(each) * length).astype(np.int64) + index // (blocks // execution.groups) * reach
    return torch.arange(blocks + 1, dtype=torch.int32) * each, torch.from_numpy(rows.reshape(-1))
