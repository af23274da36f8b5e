"""One view for all weights: outputs, then inputs of their group, then kernel taps."""

from __future__ import annotations

from math import prod
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from advisor.errors import PatternError
from advisor.network import Layer, Shape
from advisor.patterns.draw import Bools, Floats

T = TypeVar("T", bound=np.generic)


def inputs_of(layer: Layer) -> int:
    """Input channels that one output can read: all of its group."""
    return layer.in_channels // layer.groups


def taps_of(layer: Layer) -> int:
    return prod(layer.kernel)


def logical_shape(layer: Layer) -> Shape:
    """(outputs, inputs of a group, *kernel), whichever way the weight is stored."""
    return (layer.out_channels, inputs_of(layer), *layer.kernel)


def logical(weight: npt.NDArray[T], layer: Layer) -> npt.NDArray[T]:
    """The stored weight as (outputs, inputs of a group, *kernel). A view wherever NumPy can make one.

    A transposed convolution stores (inputs, outputs of a group, *kernel), one group after the other along the inputs.
    """
    _check("weight", weight, layer.weight_shape, layer)
    if not layer.transposed:
        return weight
    groups, kernel = layer.groups, layer.kernel
    split = weight.reshape(groups, inputs_of(layer), layer.out_channels // groups, *kernel)
    return np.swapaxes(split, 1, 2).reshape(logical_shape(layer))


def stored(values: npt.NDArray[T], layer: Layer) -> npt.NDArray[T]:
    """The inverse of `logical`: from (outputs, inputs of a group, *kernel) to the stored shape."""
    _check("array", values, logical_shape(layer), layer)
    if not layer.transposed:
        return values
    groups, kernel = layer.groups, layer.kernel
    split = values.reshape(groups, layer.out_channels // groups, inputs_of(layer), *kernel)
    return np.swapaxes(split, 1, 2).reshape(layer.weight_shape)


def over_taps(connections: Bools, layer: Layer) -> Bools:
    """Connections (outputs, inputs of a group) spread over the kernel taps. A view."""
    return np.broadcast_to(connections.reshape(*connections.shape, *(1,) * len(layer.kernel)), logical_shape(layer))


def sum_taps(values: Floats, layer: Layer) -> Floats:
    """Logical weight → (outputs, inputs of a group), summed over the kernel taps."""
    sums: Floats = values.reshape(layer.out_channels, inputs_of(layer), taps_of(layer)).sum(axis=-1)
    return sums


def _check(what: str, array: npt.NDArray[Any], expected: Shape, layer: Layer) -> None:
    if array.shape != tuple(expected):
        raise PatternError(f"layer {layer.name}: {what} has shape {array.shape}, expected {tuple(expected)}")
