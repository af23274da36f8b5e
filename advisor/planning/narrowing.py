"""What narrowing by magnitude removes: the channels that coupled layers lose together."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from advisor.coupling.structure import LayerUse
from advisor.errors import PlanError
from advisor.patterns.layout import inputs_of, logical, sum_taps
from advisor.patterns.option import Option

if TYPE_CHECKING:
    from advisor.network import Layer, Network

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


class Narrowing:
    """Losses of width options under the channels that `kept_channels` keeps for the same weights.

    Args:
        network: the analysis.
        weights: layer → its weight in the stored shape, for every sparsifiable layer.
    """

    def __init__(self, network: Network, weights: Mapping[str, NDArray[np.floating]]) -> None:
        self._network, self._weights = network, weights
        self._flags: dict[tuple[int, float, str], Bools] = {}
        self._squares: dict[str, Floats] = {}

    @cached_property
    def _scores(self) -> Floats:
        from advisor.coupling.keep import class_scores

        transposed = {layer.name: layer.transposed for layer in self._network.sparsifiable}
        return class_scores(self._network.coupling, self._weights, transposed)

    @cached_property
    def _uses(self) -> dict[str, LayerUse]:
        found: dict[str, LayerUse] = {}
        for step in self._network.coupling.graph.steps:
            if isinstance(step, LayerUse):
                found.setdefault(step.layer, step)
        return found

    def loss(self, layer: Layer, option: Option) -> float:
        """Share of the layer's squared weight that a width option removes, 0 to 1; 0 for a weight of zeros.

        Raises:
            PlanError: the option narrows a side of the layer that cannot be narrowed.
        """
        if layer.name not in self._squares:
            weight = np.square(np.asarray(self._weights[layer.name], dtype=np.float64))
            self._squares[layer.name] = sum_taps(logical(weight, layer), layer)
        squares = self._squares[layer.name]  # (outputs, inputs of a group)
        total = float(squares.sum())
        if total == 0:
            return 0.0
        inputs, outputs = self._side(layer, option, 0), self._side(layer, option, 1)
        columns = np.repeat(inputs.reshape(-1, inputs_of(layer)), layer.out_channels // layer.groups, axis=0)
        return min(1.0, max(0.0, 1.0 - float(squares[outputs[:, None] & columns].sum()) / total))

    def _side(self, layer: Layer, option: Option, side: int) -> Bools:
        """Which input (side 0) or output channels (side 1) stay."""
        coupling, use = self._network.coupling, self._uses[layer.name]
        nodes, level = (use.inputs, use.outputs)[side], float(option.parameters[("in", "out")[side]])
        group = coupling.of(layer.name)[side]
        if level == 1:
            return np.ones(len(nodes), dtype=np.bool_)
        if group is None:
            raise PlanError(
                f"layer {layer.name}: {option.label}: its {('in', 'out')[side]}put never narrows; expected 1"
            )
        found: Bools = self._kept(group, level, str(option.parameters["rounding"]))[coupling.class_of[nodes]]
        return found

    def _kept(self, group: int, level: float, rounding: str) -> Bools:
        from advisor.coupling.keep import kept_classes

        key = (group, level, rounding)
        if key not in self._flags:
            coupling = self._network.coupling
            levels = {coupling.groups[group].name: level}
            self._flags[key] = kept_classes(coupling, levels, rounding, scores=self._scores)
        return self._flags[key]
