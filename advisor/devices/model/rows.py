"""A step as a row of numbers: what a learner looks at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log, prod
from typing import TYPE_CHECKING

import numpy as np

from advisor.devices.steps.step import FAMILIES

if TYPE_CHECKING:
    from advisor.devices.steps.step import Step
    from advisor.runtime.execution import Execution

# glibc hands out pieces from this size on as fresh pages each time, and every first touch of one costs a fault.
_FRESH_BYTES = 32 * 1024 * 1024
# Below this many elements torch convolves one image without oneDNN, where the kernel is small and not grouped.
_NATIVE_ELEMENTS = 20480


@dataclass(frozen=True, slots=True)
class _Shape:
    """The product inside a step: b times (m x k) · (k x n), and for convolutions how it lies in the image."""

    b: int = 1  # images or independent products
    m: int = 1  # positions of one image, rows
    k: int = 1  # input channels of a group, inner size
    n: int = 1  # output channels of a group, columns
    taps: int = 1
    last: int = 1  # taps along the last axis
    width: int = 1  # output positions along the last axis
    groups: int = 1
    stride: int = 1
    dilation: int = 1
    kept: float = 0.0  # direct: inputs of a block, on average
    block: int = 0
    native: int = 0


def row(step: Step) -> np.ndarray:
    """(F,) float64: logs of work and sizes, and what kind of work it is. `names()` says which column is what."""
    g = _product(step)
    moved, macs = step.bytes_moved, step.macs
    fresh = 0 if step.in_place or step.family == "view" else step.written_bytes
    inputs = [prod(shape) for shape in step.inputs] or [0]
    largest = step.inputs[inputs.index(max(inputs))] if step.inputs else ()
    outs = step.outputs[0] if step.outputs else ()
    made = step.execution
    channels = (made.in_channels, made.out_channels) if made else (g.k, g.n)
    values = [
        _log(macs),
        _log(moved),
        _log(step.read_bytes),
        _log(step.written_bytes),
        _log(step.elements),
        _log(macs) - _log(moved) if macs else 0.0,
        _log(fresh / _FRESH_BYTES),
        float(fresh >= _FRESH_BYTES),
        # oneDNN reorders what it convolves into pieces of memory of its own, as large as the tensors.
        _log(4 * max(inputs) / _FRESH_BYTES),
        float(4 * max(inputs) >= _FRESH_BYTES),
        *(_log(v) for v in (g.b, g.m, g.k, g.n, g.taps, g.last, g.width, g.groups, g.block)),
        log(g.kept) if g.kept else 0.0,
        log(g.kept / g.k) if g.kept else 0.0,
        float(g.stride > 1),
        float(g.dilation > 1),
        float(g.native),
        float(g.groups > 1 and g.k == 1),
        *(float(size % step_size != 0) for size in channels for step_size in (8, 16)),
        float(made is not None and made.kind == "linear"),
        float(step.in_place),
        float(len(step.inputs)),
        *(float(step.layouts.count(letter)) for letter in "lse"),
        _log(largest[-1] if largest else 1),
        _log(outs[-1] if outs else 1),
        # A linear layer takes rows of features, however many axes the rows have.
        float(len(made.output_shape if made else outs)),
        _log(prod(step.inputs[1]) if len(step.inputs) > 1 else 0),
        *_window(step),
        *(float(step.family == family) for family in FAMILIES),
    ]
    return np.array(values, dtype=np.float64)


def rows(steps: list[Step]) -> np.ndarray:
    """(S, F)."""
    return np.array([row(step) for step in steps]) if steps else np.zeros((0, len(names())))


def names() -> tuple[str, ...]:
    """What the columns of `row` are."""
    return (
        "macs", "moved", "read", "written", "elements", "intensity", "fresh", "is_fresh", "large", "is_large",
        "b", "m", "k", "n", "taps", "last", "width", "groups", "block", "kept", "density",
        "strided", "dilated", "native", "depthwise", "odd_in_8", "odd_in_16", "odd_out_8", "odd_out_16",
        "linear", "in_place", "tensors", "channels_last", "strides", "expanded", "last_in", "last_out", "rank",
        "second", "window", "step", "first_parameter", *(f"is_{family}" for family in FAMILIES),
    )  # fmt: skip


def _log(value: float) -> float:
    return log(max(value, 1.0))


def _window(step: Step) -> tuple[float, float, float]:
    """Size and step of a pooling's window, and the first number among the arguments (an axis)."""
    numbers = step.parameters
    if step.family == "pool" and numbers:
        pair = len(numbers) >= 4
        return (
            _log(numbers[0] * (numbers[1] if pair else numbers[0])),
            _log(numbers[2] if pair else numbers[min(1, len(numbers) - 1)]),
            0.0,
        )
    return 0.0, 0.0, float(max(min(numbers[0], 8), -8)) if numbers else 0.0


def _product(step: Step) -> _Shape:
    if step.execution is not None:
        return _layer(step.execution)
    if step.target == "convolution_backward" and len(step.inputs) >= 3:
        grad, given, weight = step.inputs[:3]
        groups = max(given[1] // max(weight[1], 1), 1)
        return _Shape(
            b=grad[0],
            m=prod(grad[2:]),
            k=weight[1],
            n=max(weight[0] // groups, 1),
            taps=prod(weight[2:]),
            last=weight[-1],
            width=grad[-1],
            groups=groups,
            stride=max(round(given[-1] / max(grad[-1], 1)), 1),
        )
    if "sparse_" in step.target and len(step.inputs) >= 2:
        weight = next((s for s in step.inputs[1:] if len(s) in (2, 4)), step.outputs[0] if step.outputs else (1, 1))
        grad, taps = step.inputs[0], prod(weight[1:-1])
        return _Shape(b=grad[0], m=prod(grad[2:]), k=weight[0], n=grad[1], taps=taps, width=grad[-1], block=weight[-1])
    if step.family == "product" and len(step.inputs) >= 2:
        wide = [shape for shape in step.inputs if len(shape) >= 2]
        if len(wide) >= 2 and step.outputs:
            left, right = (wide[1], wide[2]) if len(wide) >= 3 and step.target in ("addmm", "baddbmm") else wide[:2]
            if "attention" in step.target:
                return _Shape(b=prod(left[:-2]), m=left[-2], k=left[-1], n=right[-2])
            return _Shape(b=prod(left[:-2]), m=left[-2], k=left[-1], n=right[-1])
    return _Shape(b=step.outputs[0][0] if step.outputs and step.outputs[0] else 1)


def _layer(e: Execution) -> _Shape:
    if e.kind == "linear":
        shape = _Shape(m=prod(e.input_shape[:-1]), k=e.weight_shape[1], n=e.weight_shape[0], width=1)
    else:
        kernel, out = e.weight_shape[2:], e.output_shape
        small = e.input_shape[0] == 1 and prod(e.input_shape) <= _NATIVE_ELEMENTS and min(kernel) <= 3
        shape = _Shape(
            b=e.input_shape[0],
            m=prod(out[2:]),
            k=e.in_channels // e.groups,
            n=e.out_channels // e.groups,
            taps=prod(kernel),
            last=kernel[-1],
            width=out[-1],
            groups=e.groups,
            stride=max(e.stride),
            dilation=max(e.dilation),
            native=int(small and e.groups == 1 and e.method == "dense"),
        )
    if e.method == "dense":
        return shape
    kept = e.kept * e.block / e.out_channels if e.method == "direct" else e.kept
    return replace(shape, kept=float(kept), block=e.block)
