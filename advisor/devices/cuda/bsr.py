"""A linear layer or 1x1 convolution on a block-sparse weight, through torch's BSR tensors. Imports torch at once."""

from __future__ import annotations

import warnings

import torch.nn.functional as F
from torch import Tensor, nn


def block_sparse(module: nn.Module, block: int) -> BlockSparse:
    """`module` (Linear, or a 1x1 Conv2d without padding and groups) with its weight stored in square blocks.

    Blocks of zeros are left out. For inference: torch gives no gradients through it.
    """
    weight = module.get_parameter("weight").detach()
    bias = module._parameters.get("bias")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch says once that the format may change
        compressed = weight.reshape(weight.shape[:2]).contiguous().to_sparse_bsr((block, block))
    stride = module.stride if isinstance(module, nn.Conv2d) else None
    return BlockSparse(compressed, None if bias is None else bias.detach(), stride)


class BlockSparse(nn.Module):
    """Made by the above. Input * C for a linear layer, N C H W for a convolution."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None, stride: tuple[int, ...] | None) -> None:
        super().__init__()
        self.weight, self.bias, self.stride = weight, bias, stride

    def forward(self, x: Tensor) -> Tensor:
        if self.stride is None:
            return F.linear(x, self.weight, self.bias)
        x = x[:, :, :: self.stride[0], :: self.stride[1]]
        rows = x.permute(0, 2, 3, 1)  # pixels as rows, which a channels-last image has already
        out = F.linear(rows.reshape(-1, rows.shape[-1]), self.weight, self.bias)
        return out.reshape(*rows.shape[:3], -1).permute(0, 3, 1, 2)
