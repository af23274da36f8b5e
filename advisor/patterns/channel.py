"""Each output keeps a few inputs, the same at all kernel taps."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from advisor.network import Layer, Shape
from advisor.patterns.base import Pattern, index_item_bytes, kept_of, register
from advisor.patterns.draw import Bools, Floats, rows_of, smallest
from advisor.patterns.layout import inputs_of, over_taps, sum_taps, taps_of
from advisor.patterns.option import Option


def reads_many(layer: Layer) -> str:
    """Why an output of this layer has no inputs to choose from; "" when it has."""
    if inputs_of(layer) >= 2:
        return ""
    return "every output reads a single input (depthwise or one channel), so there is no choice of inputs"


@register
class Channel(Pattern):
    """Exactly max(1, ceil(d * inputs)) inputs per output, one draw for all taps (Changpinyo et al. 2017, section 3.2).

    Units: connections (outputs, inputs of a group). Each output is a quota set.
    Index: one input number per kept connection, shared by its taps: uint16 below 65,536 inputs, else uint32.
    """

    name = "channel"

    def unit_shape(self, layer: Layer, option: Option) -> Shape:
        return (layer.out_channels, inputs_of(layer))

    def expand(self, layer: Layer, option: Option, connections: Bools) -> Bools:
        return over_taps(connections, layer)

    def _problem(self, layer: Layer, option: Option) -> str:
        return reads_many(layer)

    def _quota_sets(self, layer: Layer, option: Option) -> npt.NDArray[np.int64]:
        return rows_of(self.unit_shape(layer, option))

    def _kept(self, layer: Layer, option: Option) -> int:
        return layer.out_channels * kept_of(option.density, inputs_of(layer)) * taps_of(layer)

    def _together(self, layer: Layer, option: Option) -> int:
        return taps_of(layer)

    def _index_bytes(self, layer: Layer, option: Option) -> int:
        connections = layer.out_channels * kept_of(option.density, inputs_of(layer))
        return connections * index_item_bytes(layer.in_channels)

    def _choose(self, layer: Layer, option: Option, values: npt.NDArray[Any]) -> Bools:
        return smallest(values, kept_of(option.density, inputs_of(layer)))

    def _sums(self, layer: Layer, option: Option, values: Floats) -> Floats:
        return sum_taps(values, layer)
