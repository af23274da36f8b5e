"""Layers × options × costs: all that the solver knows. Pure NumPy, made from a network or from any arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import fsum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from advisor.errors import PlanError
from advisor.patterns.option import Option

if TYPE_CHECKING:
    from advisor.planning.what_if import Evaluator

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
        name: what a plan made of this table is called after; "" where a network is.
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
    name: str = ""
    _evaluator: Evaluator | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        from advisor.planning.checks import check_table, completed

        for name, value in completed(self).items():
            object.__setattr__(self, name, value)
        check_table(self)

    @classmethod
    def from_csv(cls, path: str | Path) -> CostTable:
        """A table of the user's own: one row per layer and option. See `planning.tables.rows`.

        Columns: `layer`, `density` (above 0, up to 1), `loss`, and one for each cost: `params`, `macs`, `latency` and
        `training_latency` (ms), `weight_memory` (bytes), `energy` (mJ), or any name of your own. `pattern` may be
        there, too. Each layer has one dense option: the row of pattern "dense", or else the one of density 1; shares of
        dense refer to the sum of these.

        Raises:
            PlanError: the first thing that is wrong: file, row, column, got, expected.
        """
        from advisor.planning.tables.files import from_csv

        return from_csv(path)

    @classmethod
    def from_dataframe(cls, frame: Any, *, name: str = "table") -> CostTable:
        """The same columns from a pandas (or any) data frame: something with `columns` whose columns can be iterated.

        Raises:
            PlanError: as `from_csv`; rows are counted from 0.
        """
        from advisor.planning.tables.files import from_dataframe

        return from_dataframe(frame, name=name)

    @classmethod
    def from_spdy(
        cls, path: str | Path, *, loss: str | Path | None = None, prior: str = "log", pattern: str | None = None
    ) -> CostTable:
        """A table from one of SPDY's timing files (Frantar and Alistarh 2022). See `planning.tables.spdy`.

        Args:
            path: the timing file.
            loss: a CSV of the losses (`layer`, `density` or `sparsity`, `loss`) for every option in it.
            prior: the losses where there is no such file: "log", "quadratic" or "uniform".
            pattern: what the options are called; from the file's name where None.

        Raises:
            PlanError, ProfileError: the first line that is wrong.
        """
        from advisor.planning.tables.spdy import from_spdy

        return from_spdy(path, loss=loss, prior=prior, pattern=pattern)

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

    def subset(self, kept: Sequence[Sequence[int] | NDArray[np.int64]]) -> CostTable:
        """The table with the options `kept` of each layer, in that order.

        A layer that loses its dense option refers shares to its first one: take shares of this table, not of the
        subset.
        """
        places = [[int(k) for k in ks] for ks in kept]
        return CostTable(
            layers=self.layers,
            options=tuple(tuple(options[k] for k in ks) for options, ks in zip(self.options, places, strict=True)),
            costs={
                key: tuple(column[ks] for column, ks in zip(columns, places, strict=True))
                for key, columns in self.costs.items()
            },
            loss=tuple(column[ks] for column, ks in zip(self.loss, places, strict=True)),
            constants=self.constants,
            dense=tuple(ks.index(k) if k in ks else 0 for k, ks in zip(self.dense, places, strict=True)),
            groups=self.groups,
            requires=tuple(tuple(needs[k] for k in ks) for needs, ks in zip(self.requires, places, strict=True)),
            peaks=self.peaks,
            notes=self.notes,
            name=self.name,
        )

    def totals_of(self, choices: ArrayLike) -> dict[str, Floats]:
        """Every known cost of many plans: (…, L) options' indices → key → (…).

        A plan whose options disagree about a width group has no totals: NaN. Sums are NumPy's (see `what_if`); 10,000
        plans of 100 layers take a fraction of a second.

        Raises:
            PlanError: not whole numbers, another number of layers, or no such option.
        """
        return self._laid_out().totals(choices)

    def objectives_of(self, choices: ArrayLike) -> Floats:
        """The estimated loss of many plans, (…, L) → (…); NaN where a plan's options disagree about a width group."""
        return self._laid_out().objectives(choices)

    def agree(self, choices: ArrayLike) -> NDArray[np.bool_]:
        """Which of many plans have options that want the same level of every group, (…, L) → (…)."""
        return self._laid_out().agree(choices)

    def _laid_out(self) -> Evaluator:
        if self._evaluator is None:
            from advisor.planning.what_if import Evaluator

            object.__setattr__(self, "_evaluator", Evaluator.of(self))
        return self._evaluator  # type: ignore[return-value]
