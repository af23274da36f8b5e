"""Layers for the Triton kernels, and what they must compute: convolutions of the masked dense weight in float64."""

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from advisor.runtime import gpu
from advisor.runtime.native import Conv

TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
TF32 = 2e-3


@dataclass(frozen=True, kw_only=True)
class Case:
    """A convolution. `kept`: inputs of each block; more than there are means all of them."""

    images: int = 2
    channels: int = 8
    size: tuple[int, int] = (5, 6)
    kept: tuple[int, ...] = (3, 3)
    block: int = 16
    kernel: tuple[int, int] = (1, 1)
    conv: Conv = field(default_factory=lambda: Conv(stride=(1, 1), padding=(0, 0), dilation=(1, 1)))
    last: bool = False


def conv(stride: Any = (1, 1), padding: Any = (0, 0), dilation: Any = (1, 1)) -> Conv:
    return Conv(stride=stride, padding=padding, dilation=dilation)


CASES = {
    "1x1": Case(),
    "1x1 long lists": Case(channels=40, kept=(33, 16, 40)),
    "1x1 stride 2": Case(conv=conv((2, 2)), size=(7, 6)),
    "1x1 padded": Case(conv=conv(padding=(1, 1)), size=(3, 2)),
    "3x3": Case(kernel=(3, 3), conv=conv(padding=(1, 1))),
    "3x3 channels-last": Case(kernel=(3, 3), conv=conv(padding=(1, 1)), last=True),
    "3x3 stride 2": Case(kernel=(3, 3), conv=conv((2, 2), (1, 1)), size=(7, 8)),
    "3x3 stride 2 channels-last": Case(kernel=(3, 3), conv=conv((2, 2), (1, 1)), size=(8, 5), last=True),
    "3x2, all uneven": Case(kernel=(3, 2), conv=conv((2, 1), (0, 2), (2, 3)), size=(9, 7)),
    "stride beyond the kernel": Case(kernel=(2, 2), conv=conv((3, 3)), size=(8, 8)),
    "stride and dilation share a factor": Case(kernel=(3, 3), conv=conv((4, 2), (3, 2), (2, 2)), size=(9, 9)),
    "7x1": Case(kernel=(7, 1), conv=conv(padding=(3, 0)), size=(8, 3)),
    "padding beyond the kernel": Case(kernel=(2, 2), conv=conv((1, 2), (3, 3)), size=(2, 2)),
    "ragged, one empty": Case(kept=(5, 0, 1), kernel=(2, 2)),
    "nothing kept": Case(kept=(0, 0)),
    "one pixel": Case(images=1, size=(1, 1)),
    "one pixel channels-last": Case(images=3, size=(1, 1), last=True),
    "one input channel": Case(channels=1, kept=(1,), kernel=(3, 3)),
    "no image": Case(images=0),
    "block 1": Case(block=1, kept=(2, 3, 1)),
    "block 4": Case(block=4, kernel=(3, 3), conv=conv(padding=(1, 1))),
    "block 24": Case(block=24),
    "block 48": Case(block=48, size=(3, 3), kernel=(2, 1)),
    "block 144": Case(block=144, size=(2, 3), kept=(3,)),
}
# M, C, lists, block
LINEARS = {
    "rows": (5, 20, (7, 7, 7), 16),
    "one row": (1, 20, (18, 3), 16),
    "many rows": (37, 6, (2, 6), 16),
    "small block": (3, 6, (2, 0, 6), 5),
    "no row": (0, 6, (2, 3), 16),
}


@dataclass(frozen=True)
class Layer:
    """What a kernel takes, and the dense weight that it stands for (float64, on the CPU)."""

    weight: Tensor
    indptr: Tensor
    inputs: Tensor
    dense: Tensor


def layer(case: Case, device: str, dtype: torch.dtype, seed: int = 0) -> Layer:
    generator = torch.Generator().manual_seed(seed)
    chosen = [torch.randperm(case.channels, generator=generator)[:count].sort().values for count in case.kept]
    inputs = torch.cat(chosen).int()
    bounds = torch.tensor([0, *(len(c) for c in chosen)]).cumsum(0).int()
    weight = torch.randn((len(inputs), *case.kernel, case.block), generator=generator).to(dtype)
    dense = torch.zeros(len(case.kept), case.block, case.channels, *case.kernel, dtype=torch.float64)
    for b in range(len(case.kept)):
        rows = slice(int(bounds[b]), int(bounds[b + 1]))
        dense[b][:, inputs[rows].long()] = weight[rows].double().permute(3, 0, 1, 2)
    return Layer(weight.to(device), bounds.to(device), inputs.to(device), dense.flatten(0, 1))


def kept_of(dense: Tensor, like: Layer) -> Tensor:
    """A dense gradient (C_out, C, KH, KW) at the kept pairs, as stored."""
    blocks = dense.view(len(like.indptr) - 1, -1, *dense.shape[1:])
    bounds = like.indptr.tolist()
    pieces = [blocks[b][:, like.inputs[bounds[b] : bounds[b + 1]].cpu().long()] for b in range(len(blocks))]
    return torch.cat(pieces, 1).permute(1, 2, 3, 0)


def image(shape: Any, device: str, dtype: torch.dtype, *, last: bool = False, seed: int = 1) -> Tensor:
    made = torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed)).to(dtype).to(device)
    return made.contiguous(memory_format=torch.channels_last) if last else made


def close(got: Tensor, expected: Tensor, tolerance: float) -> None:
    """Relative to the largest value: a sum that cancels is as wrong as its terms."""
    assert got.shape == expected.shape
    scale = float(expected.abs().max()) if expected.numel() else 1.0
    worst = float((got.double().cpu() - expected).abs().max()) if expected.numel() else 0.0
    assert worst <= tolerance * max(scale, 1.0), f"off by {worst:.3g} of {scale:.3g}, allowed {tolerance}"


def check_conv(case: Case, device: str, dtype: torch.dtype, tolerance: float | None = None) -> None:
    """Forward with everything fused into it, and both gradients."""
    tolerance = TOLERANCE[dtype] if tolerance is None else tolerance
    made = layer(case, device, dtype)
    x = image((case.images, case.channels, *case.size), device, dtype, last=case.last)
    wide, dense = x.double().cpu().requires_grad_(), made.dense.clone().requires_grad_()
    plain = F.conv2d(wide, dense, None, case.conv.stride, case.conv.padding, case.conv.dilation)
    grad = image(plain.shape, device, dtype, last=case.last, seed=2)
    plain.backward(grad.double().cpu())

    bias, residual = image(plain.shape[1:2], device, dtype, seed=3), image(plain.shape, device, dtype, seed=4)
    lists = (made.indptr, made.inputs)
    y = gpu.conv_forward(x, made.weight, *lists, bias, residual, "relu", case.conv)
    fused = F.relu(plain.detach() + bias.double().cpu()[:, None, None] + residual.double().cpu())
    close(y, fused, tolerance)
    if y.numel() and not x.is_contiguous():
        assert y.is_contiguous(memory_format=torch.channels_last)
    else:
        assert y.is_contiguous()

    made_x = gpu.conv_grad_input(grad, made.weight, *lists, tuple(x.shape), case.conv)
    close(made_x, wide.grad, tolerance)
    made_weight = gpu.conv_grad_weight(grad, x, *lists, tuple(made.weight.shape), case.conv)
    close(made_weight, kept_of(dense.grad, made), tolerance)
    assert y.dtype == made_x.dtype == made_weight.dtype == dtype


def check_linear(shape: tuple[int, int, tuple[int, ...], int], device: str, dtype: torch.dtype) -> None:
    rows, channels, kept, block = shape
    made = layer(Case(channels=channels, kept=kept, block=block), device, dtype)
    weight = made.weight.view(-1, block)
    x, tolerance = image((rows, channels), device, dtype), TOLERANCE[dtype]
    wide, dense = x.double().cpu().requires_grad_(), made.dense.flatten(1).requires_grad_()
    bias = image((dense.shape[0],), device, torch.float32, seed=3)
    plain = F.linear(wide, dense)
    grad = image(plain.shape, device, dtype, seed=2)
    plain.backward(grad.double().cpu())
    lists = (made.indptr, made.inputs)
    y = gpu.linear_forward(x, weight, *lists, bias, "silu")
    close(y, F.silu(plain.detach() + bias.double().cpu()), tolerance)
    close(gpu.linear_forward(x.t().contiguous().t(), weight, *lists, None, "none"), plain.detach(), tolerance)
    close(gpu.linear_grad_input(grad, weight, *lists, channels), wide.grad, tolerance)
    assert dense.grad is not None
    expected = kept_of(dense.grad[:, :, None, None], made).reshape(-1, block)
    close(gpu.linear_grad_weight(grad, x, *lists, tuple(weight.shape)), expected, tolerance)
