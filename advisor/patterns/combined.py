"""The registry's entries for narrowed and sparse at once: "width+channel", "width+group", ..."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from advisor.errors import PatternError
from advisor.network import Layer, Shape
from advisor.patterns.base import COMBINED, DENSITIES, PATTERNS, Pattern
from advisor.patterns.draw import Bools, Floats
from advisor.patterns.layout import logical_shape, stored, sum_taps, taps_of
from advisor.patterns.narrowed import PREFIX, WITHIN, place, take, thinned, width_option
from advisor.patterns.option import Option


class Combined(Pattern):
    """Width with another pattern inside it.

    Units: single weights of the full layer (outputs, inputs of a group, *kernel). On its own, `connections` keeps the
    channels that width would keep on its own, and draws or chooses the inner pattern's units within them. In a plan the
    channels are those that coupled layers keep together, and the units are the inner pattern's, of the narrowed layer.
    Index: the inner pattern's, of the narrowed layer.
    """

    def __init__(self, inner: Pattern) -> None:
        self.inner = inner

    @property
    def name(self) -> str:  # type: ignore[override]
        return PREFIX + self.inner.name

    def problem(self, layer: Layer, option: Option) -> str:
        if layer.weight is None:
            return f"{layer.kind} has no weight whose connections could go"
        if option.pattern != self.name:
            return f"is an option of pattern {option.pattern!r}, not {self.name!r}"
        share = option.parameters.get(WITHIN)
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
            return f"has within={share!r}; expected the density in the narrowed layer, in (0, 1]"
        if not 0 < option.density <= 1:
            return f"density {option.density} is outside (0, 1]"
        narrow = width_option(option)
        if problem := PATTERNS["width"].problem(layer, replace(narrow, density=min(narrow.density, 1.0))):
            return problem
        smaller, inner = thinned(layer, option)
        kept = smaller.weights / layer.weights
        if abs(option.density - kept * share) > 1e-6 * option.density:
            return f"density {option.density:g} is not that of the narrowed layer, {kept:g}, times within={share:g}"
        return self.inner.problem(smaller, inner)

    def options(self, layer: Layer, densities: Sequence[float] = DENSITIES) -> tuple[Option, ...]:
        """None: a layer's factors belong to its coupled layers, too; see `advisor.planning.menu.options.menu`."""
        return ()

    def unit_shape(self, layer: Layer, option: Option) -> Shape:
        return logical_shape(layer)

    def expand(self, layer: Layer, option: Option, connections: Bools) -> Bools:
        return connections

    def connections(self, layer: Layer, option: Option, *, seed: int, scores: Floats | None = None) -> Bools:
        self.check(layer, option)
        shape = logical_shape(layer)
        values = None if scores is None else np.asarray(scores, dtype=np.float64)
        if values is not None and (values.shape != shape or np.isnan(values).any()):
            what = "hold NaN" if values.shape == shape else f"have shape {values.shape}, expected {shape}"
            raise PatternError(f"layer {layer.name}: the scores for {option.label} {what}")
        rows = PATTERNS["width"].connections(
            layer, width_option(option), seed=seed, scores=None if values is None else sum_taps(values, layer)
        )
        smaller, inner = thinned(layer, option)
        worth = None
        if values is not None:
            worth = self.inner.unit_sums(smaller, inner, stored(take(values, rows, smaller), smaller))
        units = self.inner.connections(smaller, inner, seed=seed, scores=worth)
        return place(self.inner.expand(smaller, inner, units), rows, layer)

    def _together(self, layer: Layer, option: Option) -> int:
        return taps_of(layer) if self.inner.name in ("channel", "group") else 1

    def _kept(self, layer: Layer, option: Option) -> int:
        return self.inner._kept(*thinned(layer, option))

    def _index_bytes(self, layer: Layer, option: Option) -> int:
        return self.inner._index_bytes(*thinned(layer, option))

    def _choose(self, layer: Layer, option: Option, values: Any) -> Bools:
        raise NotImplementedError("the connections of a combined pattern are chosen in two steps")

    def _sums(self, layer: Layer, option: Option, values: Floats) -> Floats:
        return values


def register_combined(patterns: Mapping[str, Pattern]) -> None:
    """Files width with each of `patterns` (masked ones) under its name."""
    for pattern in patterns.values():
        if pattern.name not in ("dense", "width"):
            made = Combined(pattern)
            COMBINED[made.name] = made


register_combined(PATTERNS)
