"""Many plans at once: totals of arrays of choices, without a solver and without a loop over plans."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from advisor.errors import PlanError

if TYPE_CHECKING:
    from advisor.planning.table import CostTable

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_CELLS = 2**21  # gathered numbers held at once, 16 MiB


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluator:
    """A cost table laid out flat: option k of layer l stands at `starts[l] + k`.

    Sums here are NumPy's: exact for whole numbers below 2**53, otherwise within some 1e-15 of `CostTable.total`, which
    rounds once and is what a budget is checked with.

    Attributes:
        layers: L names.
        starts: (L,) and `counts` (L,) its number of options.
        costs: key → (X,) over all options of all layers.
        constants: key → what no choice changes.
        loss: (X,).
        follows: (F,) layers, each once for every group that it follows, group by group; `groups` (F,) says which.
        needed: (G, X) the level that each option needs of each group, -1 where its layer does not follow it.
        first: (F,) the first place of the same group.
        offsets: (G,) where the levels of each group start in the arrays below; level v of group g is at offsets + v.
        shared: key → (V,) over all levels of all groups; "loss" among them.
        steps: peak memory's steps that can be the largest: (S,) base and (V, S).
    """

    layers: tuple[str, ...]
    starts: Ints
    counts: Ints
    costs: dict[str, Floats]
    constants: dict[str, float]
    loss: Floats
    follows: Ints
    groups: Ints
    needed: Ints
    first: Ints
    offsets: Ints
    shared: dict[str, Floats]
    steps: tuple[Floats, Floats] | None

    @classmethod
    def of(cls, table: CostTable) -> Evaluator:
        """Lays a table out; some milliseconds, done once for a table."""
        counts = np.array([len(options) for options in table.options], np.int64)
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
        levels = [len(group.levels) for group in table.groups]
        needed = np.full((len(levels), int(counts.sum())), -1, np.int64)
        for start, needs in zip(starts, table.requires, strict=True):
            for k, pairs in enumerate(needs):
                for group, level in pairs:
                    needed[group, start + k] = level
        groups, follows = np.nonzero(needed[:, starts] >= 0) if levels else (np.zeros(0, int), np.zeros(0, int))
        return cls(
            layers=table.layers,
            starts=starts,
            counts=counts,
            costs={key: np.concatenate(columns) for key, columns in table.costs.items()},
            constants=dict(table.constants),
            loss=np.concatenate(table.loss),
            follows=follows.astype(np.int64),
            groups=groups.astype(np.int64),
            needed=needed,
            first=np.searchsorted(groups, groups).astype(np.int64),
            offsets=np.concatenate([[0], np.cumsum(levels)[:-1]]).astype(np.int64)[: len(levels)],
            shared=_shared(table),
            steps=_steps(table) if "peak_memory" in table.keys else None,
        )

    def totals(self, choices: ArrayLike) -> dict[str, Floats]:
        """See `CostTable.totals_of`."""
        picked = self._checked(choices)
        found = {key: np.empty(len(picked)) for key in self.costs}
        if self.steps is not None:
            found["peak_memory"] = np.empty(len(picked))
        for part, index in self._parts(picked):
            levels, agree = self._levels(index)
            for key, column in self.costs.items():
                found[key][part] = self._sum(column[index], key, levels, agree) + self.constants.get(key, 0.0)
            if self.steps is not None:
                found["peak_memory"][part] = found["weight_memory"][part] + self._peaks(levels)
        return {key: values.reshape(_shape(choices)) for key, values in found.items()}

    def objectives(self, choices: ArrayLike) -> Floats:
        """See `CostTable.objectives_of`."""
        picked = self._checked(choices)
        found = np.empty(len(picked))
        for part, index in self._parts(picked):
            found[part] = self._sum(self.loss[index], "loss", *self._levels(index))
        return found.reshape(_shape(choices))

    def agree(self, choices: ArrayLike) -> NDArray[np.bool_]:
        """See `CostTable.agree`."""
        picked = self._checked(choices)
        found = np.ones(len(picked), np.bool_)
        for part, index in self._parts(picked):
            found[part] = self._levels(index)[1]
        return found.reshape(_shape(choices))

    def _checked(self, choices: ArrayLike) -> Ints:
        """(N, L) the choices as whole numbers within each layer's options."""
        array = np.asarray(choices)
        if array.ndim == 0 or array.shape[-1] != len(self.layers) or array.dtype.kind not in "iu":
            raise PlanError(
                f"choices of shape {array.shape} and type {array.dtype}; expected whole numbers of shape "
                f"(…, {len(self.layers)}), an option's index for each layer"
            )
        picked: Ints = array.reshape(-1, len(self.layers)).astype(np.int64)
        wrong = (picked < 0) | (picked >= self.counts)
        if wrong.any():
            row, layer = (int(n) for n in np.argwhere(wrong)[0])
            raise PlanError(
                f"choices, row {row}, layer {self.layers[layer]}: got option {picked[row, layer]}, expected 0 to "
                f"{self.counts[layer] - 1}"
            )
        return picked

    def _parts(self, picked: Ints) -> Iterator[tuple[slice, Ints]]:
        """Some rows at a time, as places in the flat arrays."""
        rows = max(_CELLS // max(len(self.layers), self._width), 1)
        for first in range(0, len(picked), rows):
            part = slice(first, first + rows)
            yield part, picked[part] + self.starts

    @property
    def _width(self) -> int:
        return len(self.steps[0]) * len(self.offsets) if self.steps is not None else len(self.follows)

    def _levels(self, index: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """(N, G) the place of each group's level by its first layer, and (N,) whether the others want the same."""
        wanted = self.needed[self.groups, index[:, self.follows]]
        agree: NDArray[np.bool_] = (wanted == wanted[:, self.first]).all(axis=1)
        return wanted[:, np.unique(self.first)] + self.offsets, agree

    def _sum(self, values: Floats, key: str, levels: Ints, agree: NDArray[np.bool_]) -> Floats:
        total: Floats = values.sum(axis=1)
        if key in self.shared:
            total += self.shared[key][levels].sum(axis=1)
        total[~agree] = np.nan
        return total

    def _peaks(self, levels: Ints) -> Floats:
        if self.steps is None or not len(self.steps[0]):
            return np.zeros(len(levels))
        peaks: Floats = (self.steps[0] + self.steps[1][levels].sum(axis=1)).max(axis=1)
        return peaks


def _shape(choices: ArrayLike) -> tuple[int, ...]:
    return np.shape(choices)[:-1]


def _shared(table: CostTable) -> dict[str, Floats]:
    """Key → over all levels of all groups what follows them; keys that no group has are left out."""
    groups = table.groups
    found = {}
    for key in dict.fromkeys(key for group in groups for key in group.costs):
        found[key] = np.concatenate([group.costs.get(key, np.zeros(len(group.levels))) for group in groups])
    if any(group.loss is not None for group in groups):
        found["loss"] = np.concatenate([g.loss if g.loss is not None else np.zeros(len(g.levels)) for g in groups])
    return found


def _steps(table: CostTable) -> tuple[Floats, Floats]:
    """The steps of the run that are not below another one at every level: only these can hold the peak."""
    peaks = table.peaks
    if peaks is None or not peaks.base.size:
        return np.zeros(0), np.zeros((sum(len(group.levels) for group in table.groups), 0))
    steps = np.unique(np.concatenate([peaks.base[:, None], *peaks.levels], axis=1), axis=0)
    stay = np.empty((0, steps.shape[1]))
    for step in steps[np.argsort(-steps.sum(axis=1), kind="stable")]:
        if not (step <= stay).all(axis=1).any():
            stay = np.vstack([stay, step])
    return stay[:, 0].copy(), np.ascontiguousarray(stay[:, 1:].T)
