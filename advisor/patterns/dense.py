"""Nothing goes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from advisor.network import Layer, Shape
from advisor.patterns.base import Pattern, register
from advisor.patterns.draw import Bools, Floats
from advisor.patterns.layout import inputs_of, over_taps, sum_taps
from advisor.patterns.option import Option


@register
class Dense(Pattern):
    """Every weight stays. Units are the connections (outputs, inputs of a group), all True; no index."""

    name = "dense"
    drawn = False

    def unit_shape(self, layer: Layer, option: Option) -> Shape:
        return (layer.out_channels, inputs_of(layer))

    def expand(self, layer: Layer, option: Option, connections: Bools) -> Bools:
        return over_taps(connections, layer)

    def _problem(self, layer: Layer, option: Option) -> str:
        return "" if option.density == 1 else f"density {option.density} is not 1"

    def _kept(self, layer: Layer, option: Option) -> int:
        return layer.weights

    def _index_bytes(self, layer: Layer, option: Option) -> int:
        return 0

    def _choose(self, layer: Layer, option: Option, values: npt.NDArray[Any]) -> Bools:
        return np.ones(values.shape, dtype=np.bool_)

    def _sums(self, layer: Layer, option: Option, values: Floats) -> Floats:
        return sum_taps(values, layer)
