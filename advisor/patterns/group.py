"""Blocks of outputs share one set of inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from advisor.network import Layer, Shape
from advisor.patterns.base import Pattern, index_item_bytes, kept_of, register
from advisor.patterns.channel import reads_many
from advisor.patterns.draw import Bools, Floats, rows_of, smallest
from advisor.patterns.layout import inputs_of, over_taps, sum_taps, taps_of
from advisor.patterns.option import Option

# A gathered product of grouped convolutions wins from 16 outputs per block up and grows with the block (3x3 at
# d=0.25 on one AVX2 core against dense: 1.2x for 8, 2.1x for 16, 2.5x for 32, 2.7x for 64), so smaller ones are
# offered only where none of these fits, and legal everywhere.
BLOCKS = (16, 32, 64)
SMALL_BLOCKS = (8, 4)


@register
class Group(Pattern):
    """`channel` with `block` consecutive outputs sharing the draw: the version that hardware likes.

    Units: (blocks, inputs of a group). Each block is a quota set of max(1, ceil(d * inputs)). `block` divides the
    outputs of a group, so that no block reaches over two groups.
    Index: one input number per block and kept input: uint16 below 65,536 inputs, else uint32.
    """

    name = "group"
    parameters = ("block",)

    def unit_shape(self, layer: Layer, option: Option) -> Shape:
        return (layer.out_channels // int(option.parameters["block"]), inputs_of(layer))

    def expand(self, layer: Layer, option: Option, connections: Bools) -> Bools:
        return over_taps(np.repeat(connections, int(option.parameters["block"]), axis=0), layer)

    def _problem(self, layer: Layer, option: Option) -> str:
        outputs, block = layer.out_channels // layer.groups, int(option.parameters["block"])
        if outputs % block:
            return f"block {block} does not divide the {outputs} outputs{' of a group' if layer.groups > 1 else ''}"
        return reads_many(layer)

    def _choices(self, layer: Layer, density: float) -> tuple[Mapping[str, Any], ...]:
        fitting = [block for block in BLOCKS if self._can_read_all(layer, density, block)]
        fitting = fitting or [block for block in SMALL_BLOCKS if self._can_read_all(layer, density, block)][:1]
        return tuple({"block": block} for block in fitting)

    def _can_read_all(self, layer: Layer, density: float, block: int) -> bool:
        """Whether the blocks together can read every input: few wide blocks would leave channels that nothing reads.

        One block of all outputs is no sparse layer but a narrower one, and `width` says that better.
        """
        outputs, inputs = layer.out_channels // layer.groups, inputs_of(layer)
        return outputs % block == 0 and outputs // block * kept_of(density, inputs) >= inputs

    def _quota_sets(self, layer: Layer, option: Option) -> npt.NDArray[np.int64]:
        return rows_of(self.unit_shape(layer, option))

    def _kept(self, layer: Layer, option: Option) -> int:
        return layer.out_channels * kept_of(option.density, inputs_of(layer)) * taps_of(layer)

    def _together(self, layer: Layer, option: Option) -> int:
        # A transposed layer stores the outputs of a block side by side.
        return taps_of(layer) * (int(option.parameters["block"]) if layer.transposed else 1)

    def _index_bytes(self, layer: Layer, option: Option) -> int:
        blocks, inputs = self.unit_shape(layer, option)
        return blocks * kept_of(option.density, inputs) * index_item_bytes(layer.in_channels)

    def _choose(self, layer: Layer, option: Option, values: npt.NDArray[Any]) -> Bools:
        return smallest(values, kept_of(option.density, inputs_of(layer)))

    def _sums(self, layer: Layer, option: Option, values: Floats) -> Floats:
        blocks, inputs = self.unit_shape(layer, option)
        sums: Floats = sum_taps(values, layer).reshape(blocks, -1, inputs).sum(axis=1)
        return sums
