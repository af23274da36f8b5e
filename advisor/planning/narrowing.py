"""What narrowing removes: the channels that coupled layers lose together."""

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
    """Losses of width options under the channels that are worth most to the layers that make them.

    Args:
        network: the analysis.
        worth: layer → what each of its weights is worth, at least 0, in the stored shape, for every sparsifiable layer.
            Squares for a choice by magnitude.
    """

    def __init__(self, network: Network, worth: Mapping[str, NDArray[np.floating]]) -> None:
        self._network, self._worth = network, worth
        self._flags: dict[tuple[int, float, str], Bools] = {}
        self._connections: dict[str, Floats] = {}

    @cached_property
    def _scores(self) -> Floats:
        from advisor.coupling.keep import class_worth

        transposed = {layer.name: layer.transposed for layer in self._network.sparsifiable}
        return class_worth(self._network.coupling, self._worth, transposed)

    @cached_property
    def _uses(self) -> dict[str, LayerUse]:
        found: dict[str, LayerUse] = {}
        for step in self._network.coupling.graph.steps:
            if isinstance(step, LayerUse):
                found.setdefault(step.layer, step)
        return found

    def removed(self, layer: Layer, option: Option) -> float:
        """What the weights that a width option removes are worth.

        Raises:
            PlanError: the option narrows a side of the layer that cannot be narrowed.
        """
        if layer.name not in self._connections:
            worth = np.asarray(self._worth[layer.name], dtype=np.float64)
            self._connections[layer.name] = sum_taps(logical(worth, layer), layer)
        worth = self._connections[layer.name]  # (outputs, inputs of a group)
        inputs, outputs = self.kept(layer, option)
        columns = np.repeat(inputs.reshape(-1, inputs_of(layer)), layer.out_channels // layer.groups, axis=0)
        return max(0.0, float(worth[~(outputs[:, None] & columns)].sum()))

    def kept(self, layer: Layer, option: Option) -> tuple[Bools, Bools]:
        """Which input and which output channels of the layer stay, over all groups."""
        return self._side(layer, option, 0), self._side(layer, option, 1)

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
        found: Bools = self.classes(group, level, str(option.parameters["rounding"]))[coupling.class_of[nodes]]
        return found

    def classes(self, group: int, level: float, rounding: str) -> Bools:
        """(classes,) which channel classes of the network stay when this width group alone is at `level`."""
        from advisor.coupling.keep import kept_classes

        key = (group, level, rounding)
        if key not in self._flags:
            coupling = self._network.coupling
            levels = {coupling.groups[group].name: level}
            self._flags[key] = kept_classes(coupling, levels, rounding, scores=self._scores)
        return self._flags[key]
