"""Launches: grids, and what a kernel is told. Everything was checked before it comes here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from math import gcd, prod
from typing import Any

import torch
from torch import Tensor

from advisor.runtime.gpu import Geometry, tuning
from advisor.runtime.gpu.checks import MOST_PIXELS, check
from advisor.runtime.gpu.layouts import empty, flat, is_last, is_wide

_MOST_TILES = 2**31 - 1  # of a grid's first axis; the others take 65535
_SCRATCH_BYTES = 256 * 2**20  # of the gradient to the input, where it must have the same bits each time
_PARTIAL_BYTES = 64 * 2**20  # of all shares of the gradient to the weight
_MOST_SHARES = 64
_WAVES = 4  # programs per multiprocessor that a grid is cut into where it can be


def run_forward(
    x: Tensor,
    weight: Tensor,
    indptr: Tensor,
    inputs: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    y: Tensor,
    activation: str,
    conv: Geometry,
    products: str,
) -> None:
    """Fills y."""
    rows, kh, kw, block = weight.shape
    blocks = indptr.shape[0] - 1
    if kh == kw == 1 and conv.stride == (1, 1) and conv.padding == (0, 0):
        x, y, residual = flat(x, y, residual)
    count = y.shape[0] * y.shape[2] * y.shape[3]
    check("the number of output pixels", count <= MOST_PIXELS, count, f"at most {MOST_PIXELS}; split the batch")
    bn = _slice("forward", block, x, products)
    slices = blocks * -(-block // bn)
    with _on(x):
        tuning.forward[_grid(lambda m: (-(-count // m["BM"]) * slices,))](
            x,
            weight,
            indptr,
            inputs,
            bias,
            residual,
            y,
            blocks,
            count,
            *x.shape[2:],
            *y.shape[2:],
            *x.stride(),
            *y.stride(),
            *(residual.stride() if residual is not None else (0, 0, 0, 0)),
            tuning.bucket(count),
            tuning.bucket(rows // blocks),
            BLOCK=block,
            KH=kh,
            KW=kw,
            **_walk(conv),
            ACTIVATION=activation,
            X_LAST=is_last(x),
            Y_LAST=is_last(y),
            WIDE=is_wide(x, weight, y, residual),
            PRECISION=products,
            BN=bn,
        )


def grad_input(
    grad: Tensor,
    weight: Tensor,
    indptr: Tensor,
    inputs: Tensor,
    shape: tuple[int, ...],
    conv: Geometry,
    products: str,
) -> Tensor:
    """(N, C, H, W), by atomics; where torch was asked for the same bits each time, by rows that are then summed."""
    out = empty(shape, torch.float32, grad, zero=True)
    if not (out.numel() and grad.numel() and weight.numel()):
        return out.to(grad.dtype)
    if not torch.are_deterministic_algorithms_enabled():
        _add_inputs(grad, weight, indptr, inputs, out, out.stride(), shape, conv, products, by_row=False)
        return out.to(grad.dtype)
    rows, pixels = weight.shape[0], shape[2] * shape[3]
    images = max(1, _SCRATCH_BYTES // (4 * rows * pixels))
    for first in range(0, shape[0], images):
        part = grad[first : first + images]
        scratch = torch.empty((rows, part.shape[0], *shape[2:]), dtype=torch.float32, device=grad.device)
        strides = (scratch.stride(1), scratch.stride(0), *scratch.stride()[2:])
        piece = (part.shape[0], *shape[1:])
        _add_inputs(part, weight, indptr, inputs, scratch, strides, piece, conv, products, by_row=True)
        added = torch.zeros((shape[1], *scratch.shape[1:]), dtype=torch.float32, device=grad.device)
        out[first : first + images] = added.index_add_(0, inputs, scratch).transpose(0, 1)
    return out.to(grad.dtype)


def _add_inputs(
    grad: Tensor,
    weight: Tensor,
    indptr: Tensor,
    inputs: Tensor,
    out: Tensor,
    strides: Sequence[int],
    shape: Sequence[int],
    conv: Geometry,
    products: str,
    *,
    by_row: bool,
) -> None:
    rows, kh, kw, block = weight.shape
    blocks = indptr.shape[0] - 1
    stride = conv.stride
    phase = [-(-shape[2 + i] // stride[i]) for i in range(2)]
    count = shape[0] * phase[0] * phase[1]
    check("the number of input pixels", count <= MOST_PIXELS, count, f"at most {MOST_PIXELS}; split the batch")
    mean = max(rows // blocks, 1)

    def grid(meta: dict[str, Any]) -> tuple[int, ...]:
        return (-(-count // meta["BM"]) * blocks * splits, stride[0] * stride[1])

    # Where pixels and blocks are too few to fill the device, the rows of a block are shared out as well.
    splits = max(1, min(-(-mean // 16), _programs(grad.device) // max(1, count // 64 * blocks)))
    with _on(grad):
        tuning.grad_input[_grid(grid)](
            grad,
            weight,
            indptr,
            inputs,
            out,
            blocks,
            count,
            *phase,
            *shape[2:],
            *grad.shape[2:],
            *grad.stride(),
            *strides,
            splits,
            tuning.bucket(count),
            tuning.bucket(mean),
            BLOCK=block,
            KH=kh,
            KW=kw,
            **_walk(conv),
            STEP_H=stride[0] // gcd(stride[0], conv.dilation[0]),
            STEP_W=stride[1] // gcd(stride[1], conv.dilation[1]),
            BY_ROW=by_row,
            G_LAST=is_last(grad),
            OUT_LAST=not by_row and is_last(out),
            WIDE=is_wide(grad, weight, out),
            PRECISION=products,
            BN=_slice("grad_input", block, grad, products),
        )


def grad_weight(
    grad: Tensor,
    x: Tensor,
    indptr: Tensor,
    inputs: Tensor,
    weight_shape: tuple[int, ...],
    conv: Geometry,
    products: str,
) -> Tensor:
    """(rows, KH, KW, B): shares of the pixels in float32, then their sum."""
    rows, kh, kw, block = weight_shape
    blocks = indptr.shape[0] - 1
    count = grad.shape[0] * grad.shape[2] * grad.shape[3]
    check("the number of output pixels", count <= MOST_PIXELS, count, f"at most {MOST_PIXELS}; split the batch")
    if not (count and rows):
        return x.new_zeros(weight_shape)
    bn = _slice("grad_weight", block, x, products)
    slices = blocks * -(-block // bn)
    row_splits = min(-(-max(rows // blocks, 1) // 32), 65535 // (kh * kw) or 1)
    check("the number of taps", kh * kw * row_splits <= 65535, kh * kw, "at most 65535")
    wanted = -(-_programs(x.device) // (slices * kh * kw * row_splits))
    affordable = _PARTIAL_BYTES // (4 * prod(weight_shape))
    shares = max(1, min(wanted, affordable, -(-count // 256), _MOST_SHARES))
    out = torch.empty((shares, *weight_shape), dtype=torch.float32 if shares > 1 else x.dtype, device=x.device)
    with _on(x):
        tuning.grad_weight[_grid(lambda _: (slices, kh * kw * row_splits, shares))](
            grad,
            x,
            indptr,
            inputs,
            out,
            out.stride(0),
            row_splits,
            count,
            *x.shape[2:],
            *grad.shape[2:],
            *grad.stride(),
            *x.stride(),
            tuning.bucket(count),
            tuning.bucket(rows // blocks),
            BLOCK=block,
            KH=kh,
            KW=kw,
            **_walk(conv),
            G_LAST=is_last(grad),
            X_LAST=is_last(x),
            WIDE=is_wide(x, grad, out),
            PRECISION=products,
            BN=bn,
        )
    return out[0] if shares == 1 else out.sum(0).to(x.dtype)


def _slice(kernel: str, block: int, values: Tensor, products: str) -> int:
    return tuning.slice_of(kernel, block, exact=products == "ieee" and values.dtype == torch.float32)


def _walk(conv: Geometry) -> dict[str, int]:
    (sh, sw), (ph, pw), (dh, dw) = conv.stride, conv.padding, conv.dilation
    return {"SH": sh, "SW": sw, "PH": ph, "PW": pw, "DH": dh, "DW": dw}


def _grid(grid: Callable[[dict[str, Any]], tuple[int, ...]]) -> Callable[[dict[str, Any]], tuple[int, ...]]:
    def checked(meta: dict[str, Any]) -> tuple[int, ...]:
        sizes = grid(meta)
        check("the number of tiles", sizes[0] <= _MOST_TILES, sizes[0], f"at most {_MOST_TILES}; split the batch")
        return sizes

    return checked


def _on(tensor: Tensor) -> AbstractContextManager[Any]:
    """Triton launches on the current device, which need not be the tensor's."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def _programs(device: torch.device) -> int:
    """How many programs fill the device a few times over; few in the interpreter, where each takes its time."""
    return _WAVES * _multiprocessors(device) if device.type == "cuda" else 12


@cache
def _multiprocessors(device: torch.device) -> int:
    return int(torch.cuda.get_device_properties(device).multi_processor_count)
