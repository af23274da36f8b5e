"""Fewer channels on both sides: the registry's entry. Which channels and which factors, coupling says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from advisor.network import Layer, Shape
from advisor.patterns.base import DENSITIES, Pattern, is_count, register
from advisor.patterns.draw import Bools, Floats, smallest
from advisor.patterns.layout import inputs_of, over_taps, sum_taps, taps_of
from advisor.patterns.narrowed import WIDTH_PARAMETERS
from advisor.patterns.option import Option

LISTED = "listed"  # no factor left these channels: those of the plan's lists stay, whichever they are
ROUNDINGS = ("ceil", "multiple8", LISTED)


@register
class Width(Pattern):
    """The source paper's depth multiplier. Its parameters hold the factors and the channels that they leave.

    The layer really becomes smaller (`advisor.runtime.narrow`), so nothing is indexed. Which channels stay is decided
    for all coupled layers together; on its own, `connections` keeps the first rows and columns of each group, or with
    scores the rows and then the columns whose scores sum highest, which is the best this layer could do alone.
    Units: connections (outputs, inputs of a group): every kept row times its group's kept columns.
    """

    name = "width"
    drawn = False

    def problem(self, layer: Layer, option: Option) -> str:
        if layer.weight is None:
            return f"{layer.kind} has no weight whose connections could go"
        if option.pattern != self.name:
            return f"is an option of pattern {option.pattern!r}, not {self.name!r}"
        given = option.parameters
        missing = [k for k in ("in", "out", "rounding", "in_channels", "out_channels") if k not in given]
        if missing or not 0 < option.density <= 1:
            return f"has no {missing[0]!r}" if missing else f"density {option.density} is outside (0, 1]"
        if more := sorted(set(given) - set(WIDTH_PARAMETERS)):
            return f"has a parameter {more[0]!r}; expected {', '.join(WIDTH_PARAMETERS)}"
        wrong = [k for k in ("in_channels", "out_channels", "groups") if not is_count(given.get(k, 1))]
        if wrong:
            return f"parameter {wrong[0]}={given[wrong[0]]!r} is not a positive integer"
        if given["rounding"] not in ROUNDINGS:
            return f"rounding {given['rounding']!r} is none of {', '.join(ROUNDINGS)}"
        inputs, outputs, groups = _sizes(layer, option)
        if not (1 <= inputs <= layer.in_channels and 1 <= outputs <= layer.out_channels):
            return f"{inputs} and {outputs} channels are outside {layer.in_channels} and {layer.out_channels}"
        if groups < 1 or inputs % groups or outputs % groups or (groups != layer.groups and not _depthwise(layer)):
            return f"{inputs} inputs and {outputs} outputs do not fit {groups} groups"
        return ""

    def options(self, layer: Layer, densities: Sequence[float] = DENSITIES) -> tuple[Option, ...]:
        """None: factors belong to coupled layers, too; see `advisor.planning.menu.width.width_options`."""
        return ()

    def unit_shape(self, layer: Layer, option: Option) -> Shape:
        return (layer.out_channels, inputs_of(layer))

    def expand(self, layer: Layer, option: Option, connections: Bools) -> Bools:
        return over_taps(connections, layer)

    def _kept(self, layer: Layer, option: Option) -> int:
        inputs, outputs, groups = _sizes(layer, option)
        return outputs * (inputs // groups) * taps_of(layer)

    def _index_bytes(self, layer: Layer, option: Option) -> int:
        return 0

    def connections(self, layer: Layer, option: Option, *, seed: int, scores: Floats | None = None) -> Bools:
        """The seed has no say; see the class."""
        given = np.zeros(self.unit_shape(layer, option)) if scores is None else scores
        return super().connections(layer, option, seed=seed, scores=given)

    def _choose(self, layer: Layer, option: Option, values: npt.NDArray[Any]) -> Bools:
        inputs, outputs, groups = _sizes(layer, option)
        split = values.reshape(layer.groups, -1, inputs_of(layer))
        whole = smallest(split.sum(axis=(1, 2)), groups)  # a depthwise layer loses groups, others lose none
        rows = smallest(split.sum(axis=2), outputs // groups) & whole[:, None]
        columns = smallest((split * rows[:, :, None]).sum(axis=1), inputs // groups)
        return (rows[:, :, None] & columns[:, None, :]).reshape(values.shape)

    def _sums(self, layer: Layer, option: Option, values: Floats) -> Floats:
        return sum_taps(values, layer)


def _depthwise(layer: Layer) -> bool:
    return layer.groups > 1 and layer.groups == layer.in_channels


def _sizes(layer: Layer, option: Option) -> tuple[int, int, int]:
    """Inputs, outputs and groups after narrowing; a depthwise layer has as many groups as inputs."""
    given = option.parameters
    inputs, outputs = int(given["in_channels"]), int(given["out_channels"])
    return inputs, outputs, int(given.get("groups", inputs if _depthwise(layer) else layer.groups))
