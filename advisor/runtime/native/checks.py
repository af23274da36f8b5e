"""Tensors that do not belong together are refused here, before an address of theirs reaches compiled code."""

from __future__ import annotations

import torch

from advisor.errors import KernelError

MOST_TAPS = 1024
Pair = tuple[int, int]


def check_input(x: torch.Tensor, dims: int) -> torch.Tensor:
    """The tensor with its signs written out; raises KernelError unless it is float32 on the CPU with `dims` axes."""
    if x.dtype is not torch.float32 or not x.is_cpu or x.dim() != dims or x.layout is not torch.strided:
        raise KernelError(
            f"{x.dim()}-dimensional {x.dtype} tensor on {x.device}; the compiled kernels take float32 on cpu "
            f"with {dims} axes"
        )
    return x.resolve_neg() if x.is_neg() else x


def check_lists(weight: torch.Tensor, indptr: torch.Tensor, inputs: torch.Tensor, bias: torch.Tensor | None) -> None:
    """Raises KernelError unless weight (rows, kh, kw, B), indptr (blocks + 1), inputs (rows) and bias fit together."""
    if indptr.dtype is not torch.int32 or inputs.dtype is not torch.int32 or indptr.dim() != 1 or indptr.shape[0] == 0:
        raise KernelError(f"lists of {indptr.dtype} and {inputs.dtype}; expected two one-dimensional torch.int32")
    if weight.dtype is not torch.float32 or weight.dim() != 4 or weight.shape[0] != inputs.numel():
        raise KernelError(
            f"weight {tuple(weight.shape)} of {weight.dtype} for {inputs.numel()} rows; "
            "expected float32 (rows, kh, kw, block)"
        )
    if not (weight.is_cpu and indptr.is_cpu and inputs.is_cpu):
        raise KernelError(f"weight on {weight.device}, lists on {indptr.device}; the compiled kernels take cpu tensors")
    outputs = (indptr.shape[0] - 1) * weight.shape[3]
    if bias is not None and (bias.dtype is not torch.float32 or bias.shape != (outputs,) or not bias.is_cpu):
        raise KernelError(
            f"bias {tuple(bias.shape)} of {bias.dtype} on {bias.device}; expected ({outputs},) of torch.float32 on cpu"
        )


def check_shape(tensor: torch.Tensor, expected: tuple[int, ...], what: str) -> None:
    """Raises KernelError unless `tensor` has the expected shape."""
    if tuple(tensor.shape) != expected:
        raise KernelError(f"{what} of shape {tuple(tensor.shape)}; expected {expected}")


def check_geometry(
    input_shape: tuple[int, ...], weight: torch.Tensor, stride: Pair, padding: Pair, dilation: Pair
) -> None:
    """Raises KernelError unless every size is one that a convolution can have."""
    _, taps_h, taps_w, block = weight.shape
    if min(input_shape[1], taps_h, taps_w, block, *stride, *dilation) < 1 or min(padding) < 0:
        raise KernelError(
            f"{input_shape[1]} input channels, a kernel of {taps_h}x{taps_w}, blocks of {block}, {stride=}, "
            f"{padding=}, {dilation=}; expected positive sizes and no negative padding"
        )
    if taps_h * taps_w > MOST_TAPS:
        raise KernelError(f"a kernel of {taps_h}x{taps_w}; the compiled kernels take {MOST_TAPS} taps at most")
