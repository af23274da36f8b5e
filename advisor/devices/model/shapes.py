"""The matrix product inside a step: how many images, rows, columns and taps, and how a sparse layer keeps them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from advisor.devices.steps.step import Step
    from advisor.runtime.execution import Execution

# Below this many elements torch convolves one image without oneDNN, where the kernel is small and not grouped.
_NATIVE_ELEMENTS = 20480


@dataclass(frozen=True, slots=True)
class Shape:
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


def shape_of(step: Step) -> Shape:
    """Of a layer, its gradient or a product; of anything else the images alone."""
    if step.execution is not None:
        return _layer(step.execution)
    if step.target == "convolution_backward" and len(step.inputs) >= 3:
        grad, given, weight = step.inputs[:3]
        groups = max(given[1] // max(weight[1], 1), 1)
        return Shape(
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
        return Shape(b=grad[0], m=prod(grad[2:]), k=weight[0], n=grad[1], taps=taps, width=grad[-1], block=weight[-1])
    if step.family == "product" and len(step.inputs) >= 2:
        wide = [shape for shape in step.inputs if len(shape) >= 2]
        if len(wide) >= 2 and step.outputs:
            left, right = (wide[1], wide[2]) if len(wide) >= 3 and step.target in ("addmm", "baddbmm") else wide[:2]
            if "attention" in step.target:
                return Shape(b=prod(left[:-2]), m=left[-2], k=left[-1], n=right[-2])
            return Shape(b=prod(left[:-2]), m=left[-2], k=left[-1], n=right[-1])
    return Shape(b=step.outputs[0][0] if step.outputs and step.outputs[0] else 1)


def _layer(e: Execution) -> Shape:
    if e.kind == "linear":
        shape = Shape(m=prod(e.input_shape[:-1]), k=e.weight_shape[1], n=e.weight_shape[0], width=1)
    else:
        kernel, out = e.weight_shape[2:], e.output_shape
        small = e.input_shape[0] == 1 and prod(e.input_shape) <= _NATIVE_ELEMENTS and min(kernel) <= 3
        shape = Shape(
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
