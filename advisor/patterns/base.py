"""What a pattern is, and the registry of them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from advisor.errors import PatternError, unknown
from advisor.network import Layer, Shape
from advisor.patterns.draw import Bools, Floats, keys, layer_seed
from advisor.patterns.layout import inputs_of, logical, stored
from advisor.patterns.narrowed import is_narrowed
from advisor.patterns.option import NOTHING, Option

__all__ = [
    "COMBINED",
    "DENSITIES",
    "PATTERNS",
    "Pattern",
    "combined_names",
    "kept_of",
    "layer_seed",
    "pattern",
    "pattern_names",
    "register",
]

DENSITIES = (0.75, 0.5, 0.375, 0.25, 0.1875, 0.125, 0.0625, 0.03125)
PATTERNS: dict[str, Pattern] = {}
COMBINED: dict[str, Pattern] = {}  # width with a masked pattern within it; see `advisor.patterns.combined`


def kept_of(density: float, count: int) -> int:
    """max(1, ceil(density * count)). The tolerance makes 0.1 of 30 the 3 that is meant, and not 4."""
    return min(count, max(1, math.ceil(density * count - 1e-9)))


class Pattern(ABC):
    """The shape in which a layer's weights may go.

    A pattern decides over *units* (a connection, a block, a weight). Units stand in quota sets, and each set keeps the
    same number: those with the smallest random keys, or those with the largest scores; ties go to the lower index.
    The boolean array over units ("connections") is what a plan stores when it was not drawn from a seed; the mask is
    its expansion to the stored weight.
    """

    name: ClassVar[str]
    parameters: ClassVar[tuple[str, ...]] = ()  # names that Option.parameters must hold, and no others
    drawn: ClassVar[bool] = True  # a seed decides over the mask, where the density leaves a choice

    def problem(self, layer: Layer, option: Option) -> str:
        """Why `option` is not legal for `layer`, in one line; "" when it is."""
        if layer.weight is None:
            return f"{layer.kind} has no weight whose connections could go"
        if option.pattern != self.name:
            return f"is an option of pattern {option.pattern!r}, not {self.name!r}"
        if not 0 < option.density <= 1:
            return f"density {option.density} is outside (0, 1]"
        if set(option.parameters) != set(self.parameters):
            wanted = ", ".join(self.parameters) or "none"
            return f"has parameters {', '.join(sorted(option.parameters)) or 'none'}; expected {wanted}"
        wrong = [k for k in self.parameters if not is_count(option.parameters[k])]
        if wrong:
            return f"parameter {wrong[0]}={option.parameters[wrong[0]]!r} is not a positive integer"
        return self._problem(layer, option)

    def check(self, layer: Layer, option: Option) -> None:
        """Raises PatternError where `problem` finds one."""
        if problem := self.problem(layer, option):
            raise PatternError(f"layer {layer.name}: {option.label}: {problem}")

    def options(self, layer: Layer, densities: Sequence[float] = DENSITIES) -> tuple[Option, ...]:
        """The default candidates: legal, sparser than dense, distinct in kept weights, densest first.

        Layers whose outputs read a single input (depthwise, one-channel images) are left alone: without its one input
        an output is dead, and their few taps are not worth an index.
        """
        if layer.weight is None or inputs_of(layer) < 2:
            return ()
        found: dict[tuple[int, tuple[tuple[str, Any], ...]], Option] = {}
        for density in sorted(set(densities), reverse=True):
            for parameters in self._choices(layer, density):
                option = Option(pattern=self.name, density=density, parameters=parameters)
                if self.problem(layer, option):
                    continue
                kept = self._kept(layer, option)
                if kept < layer.weights:
                    found.setdefault((kept, tuple(sorted(parameters.items()))), option)
        return tuple(found.values())

    def kept_weights(self, layer: Layer, option: Option) -> int:
        """Elements of the weight that are kept, before any repair empties a row."""
        self.check(layer, option)
        return self._kept(layer, option)

    def macs(self, layer: Layer, option: Option) -> int:
        """Multiply-adds of the kept weights over all calls: every weight does the same share of a layer's."""
        return layer.macs * self.kept_weights(layer, option) // layer.weights

    def index_bytes(self, layer: Layer, option: Option) -> int:
        """What the positions of the kept values cost beside the values; each pattern says how they are stored."""
        self.check(layer, option)
        return self._index_bytes(layer, option)

    def storage_bytes(self, layer: Layer, option: Option, item_bytes: int = 4) -> int:
        """Kept values and their index; the bias is not part of it."""
        return self.kept_weights(layer, option) * item_bytes + self._index_bytes(layer, option)

    def together(self, layer: Layer, option: Option) -> int:
        """How many neighbours of the stored weight every mask keeps or drops together, at least.

        A masked layer that trains moves so many kept values by one index (`advisor.runtime.packed`).
        """
        self.check(layer, option)
        return self._together(layer, option)

    def connections(self, layer: Layer, option: Option, *, seed: int, scores: Floats | None = None) -> Bools:
        """Which units stay, shape `unit_shape`.

        Args:
            layer: whose weight it is.
            option: a legal option.
            seed: of this layer (`layer_seed`), used where no scores are given.
            scores: one number per unit, same shape; the largest stay.

        Raises:
            PatternError: the option is not legal, or the scores do not fit or hold NaN.
        """
        self.check(layer, option)
        shape = self.unit_shape(layer, option)
        values: npt.NDArray[Any]
        if scores is None:
            values = keys(seed, shape)
        else:
            values = -np.asarray(scores, dtype=np.float64)
            if values.shape != shape or np.isnan(values).any():
                what = "hold NaN" if values.shape == shape else f"have shape {values.shape}, expected {shape}"
                raise PatternError(f"layer {layer.name}: the scores for {option.label} {what}")
        return self._choose(layer, option, values)

    def mask(
        self,
        layer: Layer,
        option: Option,
        *,
        seed: int = 0,
        scores: Floats | None = None,
        connections: Bools | None = None,
    ) -> Bools:
        """True where a weight stays: a new array of exactly the stored shape. `connections` replaces the draw."""
        if connections is None:
            connections = self.connections(layer, option, seed=seed, scores=scores)
        else:
            self.check(layer, option)
            connections = np.asarray(connections)
            shape = self.unit_shape(layer, option)
            if connections.shape != shape or connections.dtype != np.bool_:
                raise PatternError(
                    f"layer {layer.name}: connections for {option.label} are {connections.dtype} of shape "
                    f"{connections.shape}, expected bool of shape {shape}"
                )
        return np.array(stored(self.expand(layer, option, connections), layer), order="C")

    def unit_sums(self, layer: Layer, option: Option, weight: npt.NDArray[Any]) -> Floats:
        """Sums a number per stored weight element over each unit."""
        self.check(layer, option)
        return self._sums(layer, option, logical(np.asarray(weight, dtype=np.float64), layer))

    def quota_sets(self, layer: Layer, option: Option) -> npt.NDArray[np.int64]:
        """Which quota set each unit belongs to, shape `unit_shape`: whole numbers from 0.

        Whoever moves connections within their sets leaves a legal mask of this pattern.

        Raises:
            PatternError: the option is not legal, or narrows: width keeps channels, and what is masked within them is
                a matter of the layer that it leaves (`advisor.patterns.narrowed.thinned`).
        """
        self.check(layer, option)
        if is_narrowed(option):
            raise PatternError(
                f"layer {layer.name}: {option.label}: width has no quota sets; ask the layer that it leaves"
            )
        return self._quota_sets(layer, option)

    @abstractmethod
    def unit_shape(self, layer: Layer, option: Option) -> Shape:
        """Shape of the connections."""

    @abstractmethod
    def expand(self, layer: Layer, option: Option, connections: Bools) -> Bools:
        """From units to the logical weight (outputs, inputs of a group, *kernel)."""

    def _problem(self, layer: Layer, option: Option) -> str:
        return ""

    def _choices(self, layer: Layer, density: float) -> tuple[Mapping[str, Any], ...]:
        return (NOTHING,)

    def _together(self, layer: Layer, option: Option) -> int:
        return 1

    def _quota_sets(self, layer: Layer, option: Option) -> npt.NDArray[np.int64]:
        """One set, the whole layer, where a pattern says nothing else."""
        return np.zeros(self.unit_shape(layer, option), dtype=np.int64)

    @abstractmethod
    def _kept(self, layer: Layer, option: Option) -> int: ...

    @abstractmethod
    def _index_bytes(self, layer: Layer, option: Option) -> int: ...

    @abstractmethod
    def _choose(self, layer: Layer, option: Option, values: npt.NDArray[Any]) -> Bools:
        """The units with the smallest values in each quota set."""

    @abstractmethod
    def _sums(self, layer: Layer, option: Option, values: Floats) -> Floats: ...


def register(kind: type[Pattern]) -> type[Pattern]:
    """Class decorator: puts the pattern into the registry under its name."""
    if kind.name in PATTERNS:
        raise ValueError(f"pattern {kind.name!r} is registered already")
    PATTERNS[kind.name] = kind()
    return kind


def pattern(name: str) -> Pattern:
    """The pattern of that name.

    Raises:
        PatternError: there is none.
    """
    found = PATTERNS.get(name) or COMBINED.get(name)
    if found is None:
        raise PatternError(unknown("pattern", name, (*PATTERNS, *COMBINED)))
    return found


def pattern_names() -> tuple[str, ...]:
    """All registered names, "dense" first, "width" among them; `combined_names` are left out."""
    return tuple(PATTERNS)


def combined_names() -> tuple[str, ...]:
    """Width with each masked pattern within it: "width+channel", "width+group", ..."""
    return tuple(COMBINED)


def index_item_bytes(count: int) -> int:
    """Bytes of the smallest index type used for positions below `count`: uint16 or uint32."""
    return 2 if count < 65536 else 4


def is_count(value: Any) -> bool:
    """A positive integer, as parameters of options are."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
