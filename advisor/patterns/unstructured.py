"""Single weights."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from advisor.network import Layer, Shape
from advisor.patterns.base import Pattern, index_item_bytes, kept_of, register
from advisor.patterns.draw import Bools, Floats, smallest
from advisor.patterns.layout import logical_shape
from advisor.patterns.option import Option


@register
class Unstructured(Pattern):
    """Any weights; the whole layer is one quota set and keeps max(1, ceil(d * weights)).

    Units: single weights (outputs, inputs of a group, *kernel).
    Index: the smaller of a bitmap (1 bit per weight: with 4 bytes per kept value this is the size that RigL, Evci et
    al. 2020, publishes) and one flat position per kept value (uint16 below 65,536 weights, else uint32).
    """

    name = "unstructured"

    def unit_shape(self, layer: Layer, option: Option) -> Shape:
        return logical_shape(layer)

    def expand(self, layer: Layer, option: Option, connections: Bools) -> Bools:
        return connections

    def _kept(self, layer: Layer, option: Option) -> int:
        return kept_of(option.density, layer.weights)

    def _index_bytes(self, layer: Layer, option: Option) -> int:
        positions = self._kept(layer, option) * index_item_bytes(layer.weights)
        return min(-(-layer.weights // 8), positions)

    def _choose(self, layer: Layer, option: Option, values: npt.NDArray[Any]) -> Bools:
        return smallest(values.reshape(-1), self._kept(layer, option)).reshape(values.shape)

    def _sums(self, layer: Layer, option: Option, values: Floats) -> Floats:
        return values
