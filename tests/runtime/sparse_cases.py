"""Sparse layers of every geometry beside the dense layer with its weights masked."""

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from advisor.runtime.connections import Connections
from advisor.runtime.sparse import Sparse, SparseMethod, sparse

Case = tuple[type[nn.Module], dict[str, Any], tuple[int, ...], int]


def conv(inputs: int, outputs: int, kernel: Any, **more: Any) -> dict[str, Any]:
    return {"in_channels": inputs, "out_channels": outputs, "kernel_size": kernel, **more}


CASES: dict[str, Case] = {  # layer, its arguments, input, outputs per block
    "3x3": (nn.Conv2d, conv(8, 12, 3, padding=1), (2, 8, 7, 7), 4),
    "channel": (nn.Conv2d, conv(8, 12, 3, padding=1), (2, 8, 7, 7), 1),
    "1x1": (nn.Conv2d, conv(8, 12, 1), (2, 8, 7, 7), 4),
    "1x1 one image": (nn.Conv2d, conv(8, 12, 1), (1, 8, 5, 7), 2),
    "1x1 stride, no bias": (nn.Conv2d, conv(8, 12, 1, stride=(2, 3), bias=False), (2, 8, 7, 8), 4),
    "1x1 padded": (nn.Conv2d, conv(4, 4, 1, padding=1), (2, 4, 5, 5), 2),
    "stride, dilation": (nn.Conv2d, conv(6, 8, 3, stride=2, dilation=2, padding=(2, 1)), (2, 6, 11, 12), 2),
    "groups": (nn.Conv2d, conv(12, 16, 3, groups=2, bias=False), (2, 12, 6, 6), 4),
    "groups 1x1": (nn.Conv2d, conv(12, 16, 1, groups=2), (3, 12, 6, 6), 1),
    "same": (nn.Conv2d, conv(4, 4, 5, dilation=2, padding="same"), (2, 4, 6, 6), 2),
    "same, uneven": (nn.Conv2d, conv(4, 4, (2, 4), padding="same"), (2, 4, 6, 6), 2),
    "circular": (nn.Conv2d, conv(4, 4, 3, padding=1, padding_mode="circular"), (2, 4, 6, 6), 2),
    "unbatched": (nn.Conv2d, conv(4, 4, 3), (4, 6, 6), 2),
    "1d": (nn.Conv1d, conv(8, 6, 5, stride=2), (2, 8, 13), 2),
    "1d 1": (nn.Conv1d, conv(8, 6, 1, stride=2), (2, 8, 13), 1),
    "1d unbatched": (nn.Conv1d, conv(8, 6, 3, padding=2), (8, 13), 3),
    "3d": (nn.Conv3d, conv(4, 6, (1, 3, 2)), (2, 4, 3, 5, 5), 2),
    "linear": (nn.Linear, {"in_features": 10, "out_features": 12}, (5, 10), 3),
    "linear one row": (nn.Linear, {"in_features": 10, "out_features": 12, "bias": False}, (1, 10), 3),
    "linear tokens": (nn.Linear, {"in_features": 10, "out_features": 12}, (2, 7, 10), 1),
    "linear vector": (nn.Linear, {"in_features": 10, "out_features": 12}, (10,), 6),
}


def units(outputs: int, inputs: int, block: int, *, even: int = 0, seed: int = 0) -> NDArray[np.bool_]:
    """Which inputs of its group each block reads. `even`: so many each; else lists from empty to all."""
    generator = np.random.default_rng(seed)
    ranks = generator.random((outputs // block, inputs)).argsort(1).argsort(1)
    lengths = even or (np.arange(outputs // block) * 3 + 2) % (inputs + 1)
    return ranks < np.reshape(lengths, (-1, 1))


def pair(
    module: nn.Module, block: int, *, even: int = 0, method: SparseMethod = "direct", seed: int = 0
) -> tuple[Sparse, nn.Module]:
    """The sparse layer and a dense copy that is masked alike."""
    groups = getattr(module, "groups", 1)
    weight = module.get_parameter("weight")
    flags = units(weight.shape[0], weight.shape[1], block, even=even, seed=seed)
    held = Connections.from_units(flags, block, groups)
    dense = copy.deepcopy(module)
    with torch.no_grad():
        dense.get_parameter("weight").mul_(mask_of(dense, flags, block))
    return sparse(copy.deepcopy(module), held.indptr, held.inputs, block, method=method), dense


def mask_of(dense: nn.Module, flags: NDArray[np.bool_], block: int) -> torch.Tensor:
    weight = dense.get_parameter("weight")
    grid = torch.from_numpy(flags.repeat(block, axis=0))
    return grid.view(*grid.shape, *(1,) * (weight.dim() - 2)).expand(weight.shape)
