"""Pooling that keeps up with sparse layers: the compiled kernels where torch goes value by value.

In the usual order of axes torch pools without vectors, and once the convolutions are sparse that is a good part of a
network's time: of ResNet-50's at a quarter of the connections, a seventh. These are torch's functions and modules with
the same results; whoever wants gradients, compiles, traces, or has another type or order of axes gets torch's own.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advisor.errors import KernelError
from advisor.runtime import watch
from advisor.runtime.native import library
from advisor.runtime.native.job import PoolJob
from advisor.runtime.sparse_ops import is_unwatched, wants_gradients


def max_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """`torch.nn.functional.max_pool2d`."""
    if (seen := _watcher(input)) is not None and not return_indices:
        given = (input, kernel_size, stride, padding, dilation, ceil_mode)
        return seen("advisor.max_pool2d", max_pool2d, given)
    ours = None
    if not return_indices and _pair(dilation) == (1, 1) and _is_ours(input):
        ours = _pool(input, kernel_size, stride, padding, ceil_mode, average=False)
    torchs: Any = F.max_pool2d
    return torchs(input, kernel_size, stride, padding, dilation, ceil_mode, return_indices) if ours is None else ours


def avg_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """`torch.nn.functional.avg_pool2d`."""
    if (seen := _watcher(input)) is not None:
        given = (input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
        watched: Tensor = seen("advisor.avg_pool2d", avg_pool2d, given)
        return watched
    ours, counts = None, count_include_pad
    if (divisor_override is None or divisor_override >= 1) and _is_ours(input):
        divisor = divisor_override or 0
        ours = _pool(input, kernel_size, stride, padding, ceil_mode, average=True, counts=counts, divisor=divisor)
    if ours is None:
        return F.avg_pool2d(input, kernel_size, stride, padding, ceil_mode, counts, divisor_override)
    return ours


class MaxPool2d(nn.MaxPool2d):
    """`nn.MaxPool2d` through `max_pool2d`."""

    def forward(self, input: Tensor) -> Any:
        size, stride, padding = self.kernel_size, self.stride, self.padding
        return max_pool2d(input, size, stride, padding, self.dilation, self.ceil_mode, self.return_indices)


class AvgPool2d(nn.AvgPool2d):
    """`nn.AvgPool2d` through `avg_pool2d`."""

    def forward(self, input: Tensor) -> Tensor:
        size, stride, padding = self.kernel_size, self.stride, self.padding
        return avg_pool2d(input, size, stride, padding, self.ceil_mode, self.count_include_pad, self.divisor_override)


MODULES: dict[type[nn.Module], type[nn.Module]] = {nn.MaxPool2d: MaxPool2d, nn.AvgPool2d: AvgPool2d}
FUNCTIONS: dict[Any, Any] = {
    F.max_pool2d: max_pool2d,
    torch.max_pool2d: max_pool2d,
    F.avg_pool2d: avg_pool2d,
}


def _watcher(x: Tensor) -> watch.Watcher | None:
    """Who watches a pooling that would be ours if nobody looked, also of a fake tensor."""
    seen = None if torch.compiler.is_compiling() else watch.watcher()
    return seen if seen is not None and _fits(x) and library.available() and not wants_gradients((x,)) else None


def _fits(x: Tensor) -> bool:
    return isinstance(x, Tensor) and x.dtype is torch.float32 and x.is_cpu and x.dim() == 4 and x.is_contiguous()


def _is_ours(x: Tensor) -> bool:
    """Images as planes of rows, all that the kernels take."""
    return (
        not torch.compiler.is_compiling()  # first: what compiles need not look at the rest
        and isinstance(x, Tensor)
        and x.dtype is torch.float32
        and x.is_cpu
        and x.dim() == 4
        and x.numel() > 0
        and x.is_contiguous()
        and not x.is_neg()
        and library.available()
        and is_unwatched((x,))
        and not wants_gradients((x,))
    )


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    items = tuple(int(v) for v in value)
    return (items[0], items[0]) if len(items) == 1 else (items[0], items[1])


def _pool(
    x: Tensor,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    *,
    average: bool,
    counts: bool = True,
    divisor: int = 0,
) -> Tensor | None:
    """None for what cannot be: torch then says what is wrong, in its own words."""
    kernel, pads = _pair(kernel_size), _pair(padding)
    steps = kernel if stride is None or stride == [] else _pair(stride)
    if min(*kernel, *steps) < 1 or any(p < 0 or 2 * p > k for p, k in zip(pads, kernel, strict=True)):
        return None
    height, width = (_size(n, k, s, p, ceil_mode) for n, k, s, p in zip(x.shape[2:], kernel, steps, pads, strict=True))
    if height < 1 or width < 1:
        return None
    y = torch.empty(x.shape[0], x.shape[1], height, width)
    job = PoolJob(
        x.shape[0] * x.shape[1],
        *x.shape[2:],
        height,
        width,
        *kernel,
        *steps,
        *pads,
        average,
        counts,
        divisor,
        torch.get_num_threads(),
    )
    if library.kernels().pool(job, library.isa_number(), x.data_ptr(), y.data_ptr()):
        raise KernelError("pooling: not enough memory for a row")
    return y


def _size(n: int, kernel: int, stride: int, pad: int, ceil_mode: bool) -> int:
    """Output positions as torch counts them: the last window starts within the input or its left padding."""
    size = (n + 2 * pad - kernel + (stride - 1 if ceil_mode else 0)) // stride + 1
    return size - 1 if ceil_mode and (size - 1) * stride >= n + pad else size
