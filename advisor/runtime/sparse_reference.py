"""What sparse layers compute, in plain torch: any floating type, any device, exact gradients.

Storage: `indptr` (blocks + 1,) and `inputs` (rows,) int32 are the lists in compressed rows: block b of `B` consecutive
outputs reads the channels `inputs[indptr[b]:indptr[b + 1]]`, counted over all groups. `weight` is (rows, *kernel, B).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_input, conv2d_weight

from advisor.errors import KernelError

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": F.relu,
    "relu6": F.relu6,
    "silu": F.silu,
}
_CONVOLVE: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def positions(indptr: Tensor, inputs: Tensor, in_channels: int, groups: int = 1) -> Tensor:
    """Where each row lies in a dense weight seen as (blocks * in_channels / groups) rows: (rows,) int64."""
    blocks, reach = indptr.numel() - 1, in_channels // groups
    block = torch.arange(blocks, device=indptr.device)
    # The first channel of a block's group lies `reach` further with each group.
    shift = block * reach - block // (blocks // groups) * reach
    return inputs + torch.repeat_interleave(shift, indptr.diff(), output_size=inputs.numel())


def dense_weight(weight: Tensor, indptr: Tensor, inputs: Tensor, in_channels: int, groups: int = 1) -> Tensor:
    """The dense weight (C_out, in_channels / groups, *kernel), zero where no connection is. Differentiable."""
    blocks, reach = indptr.numel() - 1, in_channels // groups
    *kernel, block = weight.shape[1:]
    zeros = weight.new_zeros((blocks * reach, *kernel, block))
    # Out of place, so that vmap may batch the weight alone.
    spread = zeros.index_copy(0, positions(indptr, inputs, in_channels, groups), weight)
    return spread.view(blocks, reach, *kernel, block).movedim(-1, 1).reshape(blocks * block, reach, *kernel)


def kept_weight(dense: Tensor, indptr: Tensor, inputs: Tensor, groups: int = 1) -> Tensor:
    """The kept weights (rows, *kernel, B) of a dense weight (C_out, in_channels / groups, *kernel)."""
    blocks, reach = indptr.numel() - 1, dense.shape[1]
    kernel, block = dense.shape[2:], dense.shape[0] // blocks
    rows = dense.reshape(blocks, block, reach, *kernel).movedim(1, -1).reshape(blocks * reach, *kernel, block)
    return rows.index_select(0, positions(indptr, inputs, reach * groups, groups))


def finish(out: Tensor, residual: Tensor | None, activation: str) -> Tensor:
    """activation(out + residual).

    Raises:
        KernelError: the residual has another shape: the kernels do not spread it, so nothing here does.
    """
    if residual is not None and residual.shape != out.shape:
        raise KernelError(f"residual of shape {tuple(residual.shape)}; expected {tuple(out.shape)}, as the output")
    return ACTIVATIONS[activation](out if residual is None else out + residual)


def dense_conv(
    x: Tensor,
    weight: Tensor,
    indptr: Tensor,
    inputs: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int = 1,
) -> Tensor:
    """N C *spatial → N C_out *spatial by a dense convolution with zeros in its weight."""
    dense = dense_weight(weight, indptr, inputs, x.shape[1], groups)
    return _CONVOLVE[x.dim() - 2](x, dense, bias, tuple(stride), tuple(padding), tuple(dilation), groups)


def dense_linear(x: Tensor, weight: Tensor, indptr: Tensor, inputs: Tensor, bias: Tensor | None) -> Tensor:
    """* C → * C_out by a dense product with zeros in its weight."""
    return F.linear(x, dense_weight(weight, indptr, inputs, x.shape[-1]), bias)


def gather_conv(
    x: Tensor,
    weight: Tensor,
    blocks: int,
    inputs: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    """N C *spatial → N C_out *spatial for lists of one length: pick the inputs by index, then one small dense product.

    One tap without padding is a batch of matrix products, everything else a grouped convolution. Measured on a 2-core
    AVX2 CPU, one thread, medians of interleaved runs, 64>256 @56 to 2048>512 @7, blocks of 16, 32 and 64, densities 0.5
    and 0.125, batch 1 and 8: products won 46 of 48 cases, by 1.23 in the middle.
    """
    *kernel, block = weight.shape[1:]
    kept = weight.shape[0] // blocks
    if prod(kernel) == 1 and not any(padding):
        return _products(x, weight.view(blocks, kept, block).transpose(1, 2), inputs, bias, stride)
    small = weight.view(blocks, kept, *kernel, block).movedim(-1, 1).reshape(blocks * block, kept, *kernel)
    picked = x.index_select(1, inputs)
    return _CONVOLVE[len(kernel)](picked, small, bias, tuple(stride), tuple(padding), tuple(dilation), blocks)


def _products(x: Tensor, weight: Tensor, inputs: Tensor, bias: Tensor | None, stride: Sequence[int]) -> Tensor:
    blocks, block, kept = weight.shape
    if max(stride) > 1:
        x = x[(slice(None), slice(None), *(slice(None, None, step) for step in stride))]
    flat = x.flatten(2)
    added = None if bias is None else bias.view(blocks, block, 1)
    if x.device.type == "cpu" and flat.shape[0]:
        # One image at a time keeps the gathered copy small: faster than one batched product, 1.0 to 3 times.
        images = []
        for image in flat.unbind():
            picked = image.index_select(0, inputs).view(blocks, kept, -1)
            images.append(torch.bmm(weight, picked) if added is None else torch.baddbmm(added, weight, picked))
        out = torch.stack(images)
    else:
        picked = flat.index_select(1, inputs).view(flat.shape[0], blocks, kept, flat.shape[2])
        out = torch.matmul(weight, picked)
        out = out if added is None else out + added
    return out.reshape(x.shape[0], blocks * block, *x.shape[2:])


def gather_linear(x: Tensor, weight: Tensor, blocks: int, inputs: Tensor, bias: Tensor | None) -> Tensor:
    """M C → M C_out for lists of one length: pick the inputs by index, then one small product per block."""
    count, block = x.shape[0], weight.shape[-1]
    kept = weight.shape[0] // blocks
    small = weight.view(blocks, kept, block)
    if count == 1:
        picked = x.index_select(1, inputs).view(blocks, 1, kept)
    else:
        # Whole rows of the transposed input copy faster than single numbers: 1.3 times at 8 and more rows.
        turned = x.t().contiguous().index_select(0, inputs)
        picked = turned.view(blocks, kept, count).transpose(1, 2)
    out = torch.bmm(picked, small) if bias is None else torch.baddbmm(bias.view(blocks, 1, block), picked, small)
    return out.transpose(0, 1).reshape(count, blocks * block)


def conv_grad_input(
    grad: Tensor, weight: Tensor, indptr: Tensor, inputs: Tensor, shape: Sequence[int], *geometry: Any
) -> Tensor:
    """Gradient to x of the given shape N C H W; geometry: stride, padding, dilation."""
    dense = dense_weight(weight, indptr, inputs, shape[1])
    to_x: Tensor = conv2d_input(tuple(shape), dense, grad, *geometry)  # type: ignore[no-untyped-call]
    return to_x


def conv_grad_weight(
    grad: Tensor, x: Tensor, indptr: Tensor, inputs: Tensor, shape: Sequence[int], *geometry: Any
) -> Tensor:
    """Gradient to the kept weights alone, of the given shape (rows, kh, kw, B)."""
    dense = (grad.shape[1], x.shape[1], *shape[1:3])
    full: Tensor = conv2d_weight(x, dense, grad, *geometry)  # type: ignore[no-untyped-call]
    return kept_weight(full, indptr, inputs)


def linear_grad_input(grad: Tensor, weight: Tensor, indptr: Tensor, inputs: Tensor, in_features: int) -> Tensor:
    """Gradient to x: M C."""
    return grad @ dense_weight(weight, indptr, inputs, in_features)


def linear_grad_weight(grad: Tensor, x: Tensor, indptr: Tensor, inputs: Tensor) -> Tensor:
    """Gradient to the kept weights alone: (rows, B)."""
    return kept_weight(grad.t() @ x, indptr, inputs)
