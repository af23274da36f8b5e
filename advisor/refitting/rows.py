"""A layer as a matrix product: what each output position reads, one row each."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd


def rows_of(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """(groups, positions, inputs of a group * taps): the inputs of every output position of one call.

    The layer's output at a position is the row times the logical weight's (inputs of a group * taps), bias aside.

    Args:
        module: an nn.Linear, or a convolution, transposed or not, of 1 to 3 axes.
        x: its input; (..., inputs) for linear, (examples, channels, *size) for convolutions.
    """
    if isinstance(module, nn.Linear):
        return x.reshape(1, -1, x.shape[-1])
    assert isinstance(module, _ConvNd)
    if isinstance(module, _ConvTransposeNd):
        x, dilation, stride = _spread(module, x), module.dilation, (1,) * len(module.kernel_size)
    else:
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        x = F.pad(x, module._reversed_padding_repeated_twice, mode=mode)
        dilation, stride = module.dilation, module.stride
    axes = range(2, 2 + len(module.kernel_size))
    for axis, kernel, apart, step in zip(axes, module.kernel_size, dilation, stride, strict=True):
        # The window of each position comes last; every `apart`-th of its elements is a tap.
        x = x.unfold(axis, apart * (kernel - 1) + 1, step)[..., ::apart]
    if isinstance(module, _ConvTransposeNd):
        x = x.flip(tuple(range(2 + len(module.kernel_size), x.ndim)))
    examples, channels, groups = x.shape[0], x.shape[1], module.groups
    space, taps = len(module.kernel_size), x.shape[2 + len(module.kernel_size) :]
    x = x.reshape(examples, groups, channels // groups, *x.shape[2:])
    order = (1, 0, *range(3, 3 + space), 2, *range(3 + space, x.ndim))
    return x.permute(order).reshape(groups, -1, channels // groups * taps.numel())


def _spread(module: _ConvTransposeNd, x: torch.Tensor) -> torch.Tensor:
    """The input of the plain convolution a transposed one is (stride 1, flipped kernel): zeros between and around."""
    sizes = x.shape[2:]
    between = x.new_zeros(*x.shape[:2], *((n - 1) * s + 1 for n, s in zip(sizes, module.stride, strict=True)))
    places: list[Any] = [..., *(slice(None, None, step) for step in module.stride)]
    between[tuple(places)] = x
    around: list[int] = []
    padding: tuple[int, ...] = tuple(int(size) for size in module.padding)
    settings = list(zip(module.kernel_size, module.dilation, padding, module.output_padding, strict=True))
    for kernel, apart, cut, more in reversed(settings):
        edge = apart * (kernel - 1) - cut
        around += [edge, edge + more]
    return F.pad(between, around)


def targets_of(module: nn.Module, y: torch.Tensor) -> torch.Tensor:
    """(groups, positions, outputs of a group): a layer's output in the order of `rows_of`."""
    if isinstance(module, nn.Linear):
        return y.reshape(1, -1, y.shape[-1])
    assert isinstance(module, _ConvNd)
    examples, channels, groups = y.shape[0], y.shape[1], module.groups
    y = y.reshape(examples, groups, channels // groups, -1)
    return y.permute(1, 0, 3, 2).reshape(groups, -1, channels // groups)
