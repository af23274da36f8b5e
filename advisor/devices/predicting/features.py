"""What a prediction looks at: an execution as numbers, and which executions are relatives."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from advisor.runtime.execution import Execution

_METHODS = ("direct", "gather", "packed")


def features(execution: Execution) -> np.ndarray:
    """(F,) float64: logs of work and sizes, what the operator is, and how the method scales."""
    e = execution
    kernel = math.prod(e.weight_shape[2:])
    macs, moved = math.log(max(e.macs, 1)), math.log(max(e.bytes_moved, 1))
    weights, inputs = math.log(max(math.prod(e.weight_shape), 1)), math.log(max(math.prod(e.input_shape), 1))
    positions = math.log(max(_positions(e), 1))
    depthwise = float(e.groups > 1 and e.weight_shape[1] == 1)
    grouped = float(e.groups > 1 and not depthwise)
    methods = [float(e.method == name) for name in _METHODS]
    row = [
        macs,
        moved,
        weights,
        inputs,
        positions,
        macs - moved,  # arithmetic intensity
        (macs - 16) ** 2 / 10,  # small work is bound by overhead, so the slope is not constant
        (moved - 14) ** 2 / 10,
        math.log(max(kernel, 1)),
        float(kernel == 1 and e.kind.startswith("conv")),
        float(e.kind == "linear"),
        float(e.kind.startswith("conv_transpose")),
        float(max(e.stride, default=1) > 1),
        float(max(e.dilation, default=1) > 1),
        depthwise,
        depthwise * macs / 10,
        grouped,
        *methods,
        *(flag * macs / 10 for flag in methods),
        math.log(e.kept) if e.kept and e.method == "gather" else 0.0,
        math.log(e.block) if e.block and e.method == "gather" else 0.0,
        math.log(e.kept * e.block / e.out_channels) if e.method == "direct" else 0.0,  # inputs of a block
        math.log(e.block) if e.method == "direct" else 0.0,
    ]
    return np.array(row, dtype=np.float64)


def _positions(e: Execution) -> int:
    if e.kind == "linear":
        return math.prod(e.input_shape[:-1])
    return e.input_shape[0] * math.prod(e.input_shape[2:]) // max(math.prod(e.stride), 1)


def _operator(e: Execution) -> tuple[object, ...]:
    depthwise = e.groups > 1 and e.weight_shape[1] == 1
    return (e.kind, e.weight_shape[2:], e.stride, e.dilation, depthwise)


def layer_group(execution: Execution) -> tuple[object, ...]:
    """The same operator on the same input size, whatever its channels: what is left out together."""
    e = execution
    size = e.input_shape[:-1] if e.kind == "linear" else (e.input_shape[0], *e.input_shape[2:])
    # A linear layer has no spatial size to tell layers apart by, so there its shape does.
    return (*_operator(e), size, e.weight_shape if e.kind == "linear" else ())


def sibling_group(execution: Execution) -> tuple[object, ...]:
    """Executions whose residuals say something about each other: the same operator on the same input size."""
    e = execution
    size = e.input_shape[:-1] if e.kind == "linear" else (e.input_shape[0], *e.input_shape[2:])
    return (*_operator(e), size)


def sweep_group(execution: Execution) -> tuple[object, ...]:
    """Executions that differ in the number of kept connections alone."""
    e = execution
    return (e.kind, e.method, e.input_shape, e.weight_shape, e.stride, e.padding, e.dilation, e.groups, e.block)
