"""Layers × options × costs: all that the solver knows. Pure NumPy, made from a network or from any arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import fsum

import numpy as np
from numpy.typing import NDArray

from advisor.errors import PlanError
from advisor.patterns.option import Option

Floats = NDArray[np.float64]
Choice = NDArray[np.int64]  # (L,): the index of each layer's option
Requirement = tuple[tuple[int, int], ...]  # (group, level) pairs that an option needs


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelGroup:
    """Layers that share one width factor: exactly one of `levels` is chosen for all of them."""

    name: str
    levels: tuple[float, ...]  # (V,) in (0, 1]
    costs: Mapping[str, Floats] = field(default_factory=dict)  # key → (V,): what follows the factor beside the layers
    loss: Floats | None = None  # (V,); None: nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Peaks:
    """Activations alive at each step of one run, in bytes, as a linear function of the chosen levels.

    Attributes:
        base: (T,) what no level changes.
        levels: per group (T, V_g): what the group's activations take at each level.
    """

    base: Floats
    levels: tuple[Floats, ...] = ()

    def peak(self, chosen: Sequence[int]) -> float:
        """The largest sum over the steps when group g has level `chosen[g]`."""
        alive = self.base.copy()
        for array, level in zip(self.levels, chosen, strict=True):
            alive = alive + array[:, level]
        return float(alive.max()) if alive.size else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CostTable:
    """What every option of every layer costs.

    L layers, K_l options of layer l, M costs, G groups. A cost's total is its constant, plus the chosen options', plus
    the chosen levels' of each group. "peak_memory" is no column: it is the total of "weight_memory" plus `peaks`.

    Attributes:
        layers: L names, unique.
        options: per layer its K_l options, distinct labels.
        costs: key → per layer (K_l,) float64, finite and at least 0, in the key's unit (ms, bytes, mJ, 1).
        loss: per layer (K_l,) float64, finite and at least 0.
        constants: key → what no choice changes; may be negative (a network faster than its layers one by one).
        dense: (L,) the option that a share of dense refers to; the first one called "dense" otherwise.
        groups: what must share a factor; `requires[l][k]` holds the (group, level) pairs of option k of layer l.
        notes: what a reader of the numbers has to know.
    """

    layers: tuple[str, ...]
    options: tuple[tuple[Option, ...], ...]
    costs: Mapping[str, tuple[Floats, ...]]
    loss: tuple[Floats, ...]
    constants: Mapping[str, float] = field(default_factory=dict)
    dense: tuple[int, ...] = ()
    groups: tuple[LevelGroup, ...] = ()
    requires: tuple[tuple[Requirement, ...], ...] = ()
    peaks: Peaks | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        from advisor.planning.checks import check_table, completed

        for name, value in completed(self).items():
            object.__setattr__(self, name, value)
        check_table(self)

    @property
    def keys(self) -> tuple[str, ...]:
        """The costs that can be totalled, "peak_memory" among them where it is known."""
        return (
            (*self.costs, "peak_memory") if self.peaks is not None and "weight_memory" in self.costs else (*self.costs,)
        )

    def total(self, key: str, choice: Sequence[int] | Choice) -> float:
        """One cost of the whole network, summed without rounding error."""
        if key == "peak_memory" and self.peaks is not None:
            return self.total("weight_memory", choice) + self.peaks.peak(self.levels_of(choice))
        parts = [float(column[k]) for column, k in zip(self.costs[key], choice, strict=True)]
        if self.groups:
            shared = zip(self.groups, self.levels_of(choice), strict=True)
            parts += [float(group.costs[key][v]) for group, v in shared if key in group.costs]
        return fsum([*parts, self.constants.get(key, 0.0)])

    def totals(self, choice: Sequence[int] | Choice) -> dict[str, float]:
        """Every known cost of the whole network."""
        return {key: self.total(key, choice) for key in self.keys}

    def objective(self, choice: Sequence[int] | Choice) -> float:
        """The estimated loss of the whole network."""
        parts = [float(column[k]) for column, k in zip(self.loss, choice, strict=True)]
        shared = zip(self.groups, self.levels_of(choice), strict=True)
        return fsum([*parts, *(float(group.loss[v]) for group, v in shared if group.loss is not None)])

    def levels_of(self, choice: Sequence[int] | Choice) -> tuple[int, ...]:
        """(G,) the level of each group that the chosen options agree on.

        Raises:
            PlanError: two options want different levels of one group.
        """
        levels: dict[int, int] = {}
        for layer, needs, k in zip(self.layers, self.requires, choice, strict=True):
            for group, level in needs[k]:
                if levels.setdefault(group, level) != level:
                    raise PlanError(
                        f"layer {layer}: its option wants another level of width group {self.groups[group].name!r} "
                        "than an earlier layer's; choose options that agree"
                    )
        return tuple(levels[group] for group in range(len(self.groups)))

    def agrees(self, choice: Sequence[int] | Choice) -> bool:
        """Whether the chosen options want the same level of every group."""
        try:
            self.levels_of(choice)
        except PlanError:
            return False
        return True
