"""A convolution's three training stages as sums of sparse row convolutions, with the multiply-adds that they take.

Dai et al. 2020 (SparseTrain) split training into one-dimensional convolutions of a row of the activations, a row of the
kernel and a row of the output:

- SRC, sparse row convolution (forward): each nonzero of an input row meets a dense kernel row.
- MSRC, masked SRC (gradient to activations): each nonzero of a dO row meets a kernel row; positions where the forward
  ReLU was zero are skipped.
- OSRC, output-store row convolution (gradient to weights): nonzeros of a dO row meet nonzeros of an input row, and the
  kernel row's gradient stays where it is summed.

This is a reference in plain NumPy: one image, one loop for every row, no speed. A multiply-add is counted where it is
done; zeros that padding adds are nothing, so nothing is counted for them. Kernels are dense, whatever they hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from advisor.errors import AdvisorError

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Of a two-dimensional convolution: stride, zero padding and dilation as (rows, columns)."""

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def size(self, size: int, kernel: int, axis: int) -> int:
        """Output rows (axis 0) or columns (1)."""
        return (size + 2 * self.padding[axis] - self.dilation[axis] * (kernel - 1) - 1) // self.stride[axis] + 1

    def reach(self, tap: int, axis: int) -> int:
        """Output position x reads input position x stride + reach."""
        return tap * self.dilation[axis] - self.padding[axis]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What one stage computed, and with how many multiply-adds."""

    values: Array
    macs: int


def src_row(inputs: Array, kernel: Array, output: Array, geometry: Geometry) -> int:
    """Adds one input row `W` under one kernel row `K` to an output row `W'`; returns the multiply-adds."""
    macs = 0
    for w in np.flatnonzero(inputs):
        for tap in range(len(kernel)):
            x, between = divmod(int(w) - geometry.reach(tap, 1), geometry.stride[1])
            if between == 0 and 0 <= x < len(output):
                output[x] += inputs[w] * kernel[tap]
                macs += 1
    return macs


def msrc_row(gradient: Array, kernel: Array, mask: Mask, output: Array, geometry: Geometry) -> int:
    """Adds one dO row `W'` under one kernel row `K` to a dI row `W` where `mask` `W` is true; counts multiply-adds.

    With stride 1 this is the convolution of dO with the flipped kernel row.
    """
    macs = 0
    for x in np.flatnonzero(gradient):
        for tap in range(len(kernel)):
            w = int(x) * geometry.stride[1] + geometry.reach(tap, 1)
            if 0 <= w < len(output) and mask[w]:
                output[w] += gradient[x] * kernel[tap]
                macs += 1
    return macs


def osrc_row(gradient: Array, inputs: Array, output: Array, geometry: Geometry) -> int:
    """Adds one dO row `W'` against one input row `W` to a dW row `K`; returns the multiply-adds."""
    macs = 0
    for x in np.flatnonzero(gradient):
        for tap in range(len(output)):
            w = int(x) * geometry.stride[1] + geometry.reach(tap, 1)
            if 0 <= w < len(inputs) and inputs[w]:
                output[tap] += gradient[x] * inputs[w]
                macs += 1
    return macs


def forward(inputs: Array, weight: Array, geometry: Geometry = Geometry()) -> Stage:
    """O `M H' W'` of I `C H W` and W `M C/groups kH kW`, by SRC.

    Raises:
        AdvisorError: shapes that do not belong together.
    """
    height, width = _output_size(inputs.shape, weight.shape, geometry)
    output = np.zeros((len(weight), height, width))
    macs = 0
    for m, c, channel, tap, y, h in _rows(inputs.shape, weight.shape, height, geometry):
        macs += src_row(inputs[channel, h], weight[m, c, tap], output[m, y], geometry)
    return Stage(values=output, macs=macs)


def gradient_to_inputs(
    gradient: Array,
    weight: Array,
    mask: Mask,
    geometry: Geometry = Geometry(),
) -> Stage:
    """dI `C H W` of dO `M H' W'`, by MSRC; zero where `mask` `C H W` (the forward ReLU's) is false.

    Raises:
        AdvisorError: shapes that do not belong together.
    """
    height = _matching(gradient, mask.shape, weight.shape, geometry)
    output = np.zeros(mask.shape)
    macs = 0
    for m, c, channel, tap, y, h in _rows(mask.shape, weight.shape, height, geometry):
        macs += msrc_row(gradient[m, y], weight[m, c, tap], mask[channel, h], output[channel, h], geometry)
    return Stage(values=output, macs=macs)


def gradient_to_weights(
    gradient: Array,
    inputs: Array,
    kernel: tuple[int, int],
    geometry: Geometry = Geometry(),
) -> Stage:
    """dW `M C/groups kH kW` of dO `M H' W'` and I `C H W`, by OSRC.

    Raises:
        AdvisorError: shapes that do not belong together.
    """
    shape = (len(gradient), inputs.shape[0] // geometry.groups, *kernel)
    height = _matching(gradient, inputs.shape, shape, geometry)
    output = np.zeros(shape)
    macs = 0
    for m, c, channel, tap, y, h in _rows(inputs.shape, shape, height, geometry):
        macs += osrc_row(gradient[m, y], inputs[channel, h], output[m, c, tap], geometry)
    return Stage(values=output, macs=macs)


def training_macs(
    inputs: Array,
    weight: Array,
    gradient: Array,
    mask: Mask | None,
    geometry: Geometry = Geometry(),
) -> tuple[int, int, int]:
    """Multiply-adds of the three stages, in this order: forward, gradient to activations, gradient to weights.

    Args:
        mask: of the forward ReLU before the layer, `C H W`; None for a layer that reads the image, whose second stage
            does not happen.
    """
    kernel = (weight.shape[2], weight.shape[3])
    second = 0 if mask is None else gradient_to_inputs(gradient, weight, mask, geometry).macs
    return forward(inputs, weight, geometry).macs, second, gradient_to_weights(gradient, inputs, kernel, geometry).macs


def _rows(
    inputs: tuple[int, ...], weight: tuple[int, ...], height: int, geometry: Geometry
) -> Iterator[tuple[int, int, int, int, int, int]]:
    """Every row operation: filter, its input channel within the group and overall, kernel, output and input row."""
    per_group = weight[0] // geometry.groups
    for m in range(weight[0]):
        first = m // per_group * weight[1]
        for c in range(weight[1]):
            for tap in range(weight[2]):
                for y in range(height):
                    h = y * geometry.stride[0] + geometry.reach(tap, 0)
                    if 0 <= h < inputs[1]:
                        yield m, c, first + c, tap, y, h


def _output_size(inputs: tuple[int, ...], weight: tuple[int, ...], geometry: Geometry) -> tuple[int, int]:
    groups = geometry.groups
    if len(inputs) != 3 or len(weight) != 4 or inputs[0] != weight[1] * groups or weight[0] % groups:
        raise AdvisorError(
            f"row convolutions: got input {inputs} and weight {weight} in {groups} groups, expected C H W and "
            "M C/groups kH kW; give one image at a time"
        )
    height, width = (geometry.size(inputs[axis + 1], weight[axis + 2], axis) for axis in (0, 1))
    if height < 1 or width < 1:
        raise AdvisorError(f"row convolutions: a kernel of {weight[2:]} does not fit into an input of {inputs}")
    return height, width


def _matching(gradient: Array, inputs: tuple[int, ...], weight: tuple[int, ...], geometry: Geometry) -> int:
    height, width = _output_size(inputs, weight, geometry)
    if gradient.shape != (weight[0], height, width):
        raise AdvisorError(
            f"row convolutions: got dO of {gradient.shape}, expected {(weight[0], height, width)} for input {inputs} "
            f"and weight {weight}"
        )
    return height
