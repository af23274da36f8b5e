"""Dense rectangles of the flattened weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from advisor.network import Layer, Shape
from advisor.patterns.base import Pattern, index_item_bytes, kept_of, register
from advisor.patterns.draw import Bools, Floats, smallest
from advisor.patterns.layout import inputs_of, logical_shape, taps_of
from advisor.patterns.option import Option

# (rows, columns). 4x1: four outputs share one input at one tap, which is the register tile of the fastest CPU kernel
# measured (four outputs take most of what sixteen would) and the block of Fast Sparse ConvNets (Elsen et al. 2020).
# 4x4: the small square that block-compressed formats (BSR) take, with a quarter of the index.
BLOCKS = ((4, 1), (4, 4))


@register
class Block(Pattern):
    """The weight flattened to (outputs, inputs of a group * taps), cut into blocks of rows x columns.

    Units: (row blocks, column blocks); the whole layer is one quota set and keeps max(1, ceil(d * blocks)). A row of
    blocks may end up empty. `rows` divides the outputs of a group, `columns` the flattened inputs.
    Index: one column number per kept block (uint16 below 65,536 column blocks, else uint32) and, as in block
    compressed rows, one uint32 per row of blocks and one more.
    """

    name = "block"
    parameters = ("rows", "columns")

    def unit_shape(self, layer: Layer, option: Option) -> Shape:
        rows, columns = _size(option)
        return (layer.out_channels // rows, inputs_of(layer) * taps_of(layer) // columns)

    def expand(self, layer: Layer, option: Option, connections: Bools) -> Bools:
        rows, columns = _size(option)
        return np.repeat(np.repeat(connections, rows, axis=0), columns, axis=1).reshape(logical_shape(layer))

    def _problem(self, layer: Layer, option: Option) -> str:
        rows, columns = _size(option)
        outputs, flat = layer.out_channels // layer.groups, inputs_of(layer) * taps_of(layer)
        if outputs % rows:
            return f"{rows} rows do not divide the {outputs} outputs{' of a group' if layer.groups > 1 else ''}"
        if flat % columns:
            return f"{columns} columns do not divide the {flat} weights of an output"
        return ""

    def _choices(self, layer: Layer, density: float) -> tuple[Mapping[str, Any], ...]:
        return tuple({"rows": rows, "columns": columns} for rows, columns in BLOCKS)

    def _blocks(self, layer: Layer, option: Option) -> int:
        down, across = self.unit_shape(layer, option)
        return kept_of(option.density, down * across)

    def _kept(self, layer: Layer, option: Option) -> int:
        rows, columns = _size(option)
        return self._blocks(layer, option) * rows * columns

    def _together(self, layer: Layer, option: Option) -> int:
        rows, columns = _size(option)
        if layer.transposed:  # stores the outputs side by side, tap by tap
            return rows if taps_of(layer) == 1 else 1
        return columns

    def _index_bytes(self, layer: Layer, option: Option) -> int:
        down, across = self.unit_shape(layer, option)
        return self._blocks(layer, option) * index_item_bytes(across) + 4 * (down + 1)

    def _choose(self, layer: Layer, option: Option, values: npt.NDArray[Any]) -> Bools:
        return smallest(values.reshape(-1), self._blocks(layer, option)).reshape(values.shape)

    def _sums(self, layer: Layer, option: Option, values: Floats) -> Floats:
        down, across = self.unit_shape(layer, option)
        rows, columns = _size(option)
        sums: Floats = values.reshape(down, rows, across, columns).sum(axis=(1, 3))
        return sums


def _size(option: Option) -> tuple[int, int]:
    return int(option.parameters["rows"]), int(option.parameters["columns"])
