"""N of each M consecutive input channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from advisor.network import Layer, Shape
from advisor.patterns.base import DENSITIES, Pattern, register
from advisor.patterns.channel import reads_many
from advisor.patterns.draw import Bools, Floats, smallest
from advisor.patterns.layout import inputs_of, logical_shape, taps_of
from advisor.patterns.option import Option

# 2:4 runs on Ampere and later; the others are those of Zhou et al. (ICLR 2021), ResNet-50 77.0, 75.9, 77.4, 76.4.
RATIOS = ((2, 4), (1, 4), (4, 8), (2, 8))


@register
class NM(Pattern):
    """Zhou et al. 2021, along input channels as hardware wants it, for each output and tap on its own.

    Units: single weights (outputs, inputs of a group, *kernel); each m consecutive inputs are a quota set of n. The
    density is n/m and `m` divides the inputs of a group.
    Index: the position within its m, ceil(log2 m) bits per kept value (2 bits for 2:4), rounded up to bytes.
    """

    name = "n:m"
    parameters = ("n", "m")

    def options(self, layer: Layer, densities: Sequence[float] = DENSITIES) -> tuple[Option, ...]:
        """The offered ratios; where the caller asks for densities of his own, those ratios that meet one of them."""
        asked = {round(n / m, 9) for n, m in RATIOS} & {round(d, 9) for d in densities}
        return super().options(layer, sorted(asked))

    def unit_shape(self, layer: Layer, option: Option) -> Shape:
        return logical_shape(layer)

    def expand(self, layer: Layer, option: Option, connections: Bools) -> Bools:
        return connections

    def _problem(self, layer: Layer, option: Option) -> str:
        n, m = int(option.parameters["n"]), int(option.parameters["m"])
        if n > m:
            return f"n={n} is more than m={m}"
        if abs(option.density - n / m) > 1e-9:
            return f"density {option.density} is not n/m = {n / m:g}"
        if inputs_of(layer) % m:
            return f"m={m} does not divide the {inputs_of(layer)} inputs{' of a group' if layer.groups > 1 else ''}"
        return reads_many(layer)

    def _choices(self, layer: Layer, density: float) -> tuple[Mapping[str, Any], ...]:
        return tuple({"n": n, "m": m} for n, m in RATIOS if abs(n / m - density) < 1e-9)

    def _quota_sets(self, layer: Layer, option: Option) -> npt.NDArray[np.int64]:
        m, taps = int(option.parameters["m"]), taps_of(layer)
        sets = np.arange(layer.weights // m).reshape(layer.out_channels, inputs_of(layer) // m, 1, taps)
        return np.repeat(sets, m, axis=2).reshape(logical_shape(layer))

    def _kept(self, layer: Layer, option: Option) -> int:
        return layer.weights // int(option.parameters["m"]) * int(option.parameters["n"])

    def _index_bytes(self, layer: Layer, option: Option) -> int:
        bits = (int(option.parameters["m"]) - 1).bit_length()
        return -(-self._kept(layer, option) * bits // 8)

    def _choose(self, layer: Layer, option: Option, values: npt.NDArray[Any]) -> Bools:
        n, m = int(option.parameters["n"]), int(option.parameters["m"])
        sets = values.reshape(layer.out_channels, inputs_of(layer) // m, m, taps_of(layer)).swapaxes(2, 3)
        return smallest(sets, n).swapaxes(2, 3).reshape(values.shape)

    def _sums(self, layer: Layer, option: Option, values: Floats) -> Floats:
        return values
