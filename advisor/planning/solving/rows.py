"""The limits on a table's costs as rows of a linear program, scaled to the solver's tolerances."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from advisor.errors import AdvisorError
from advisor.planning.table import CostTable

Floats = NDArray[np.float64]

# HiGHS works with absolute tolerances (1e-6 on rows), so rows are scaled up to this.
ROW_SCALE = 1e2


class Block(NamedTuple):
    """Rows `least` ≤ `matrix` · variables ≤ `most`; missing columns at the end are zeros."""

    matrix: sparse.csr_array
    least: Floats
    most: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Σ a·x + Σ b·y ≤ limit over options x and levels y, both divided by `unit`.

    The smallest cost of each layer is taken out of both sides, since one option per layer is chosen anyway: smaller
    numbers, finer tolerance.
    """

    key: str
    options: Floats  # (X,)
    levels: Floats  # (Y,)
    limit: float
    unit: float  # of the cost, per one in this row
    size: float  # the order of magnitude of the numbers behind the limit, in the same unit

    @property
    def is_empty(self) -> bool:
        return not self.options.any() and not self.levels.any()

    @property
    def is_broken(self) -> bool:
        """Whether no choice can keep it."""
        return self.limit < -1e-9 * self.size


def column(table: CostTable, kept: tuple[NDArray[np.int64], ...], key: str | None) -> tuple[Floats, Floats, float]:
    """One cost, or the loss where `key` is None, over the option and level variables, and its constant."""
    columns = table.loss if key is None else table.costs[key]
    options = np.concatenate([values[ks] for values, ks in zip(columns, kept, strict=True)])
    if key is None:
        levels = [group.loss if group.loss is not None else np.zeros(len(group.levels)) for group in table.groups]
        return options, np.concatenate([*levels, np.zeros(0)]), 0.0
    levels = [group.costs.get(key, np.zeros(len(group.levels))) for group in table.groups]
    return options, np.concatenate([*levels, np.zeros(0)]), table.constants.get(key, 0.0)


def limit_row(table: CostTable, kept: tuple[NDArray[np.int64], ...], key: str, limit: float) -> Row:
    """The row of one limit. Without width groups activations are a constant, so "peak_memory" is a row like others."""
    if key == "peak_memory" and table.peaks is not None and not table.groups:
        return replace(limit_row(table, kept, "weight_memory", limit - table.peaks.peak(())), key=key)
    options, levels, constant = column(table, kept, key)
    counts = np.array([len(ks) for ks in kept])
    least = np.minimum.reduceat(options, np.concatenate([[0], np.cumsum(counts)[:-1]]))
    given = float(least.sum()) + constant
    options = options - np.repeat(least, counts)
    largest = max(float(options.max(initial=0.0)), float(levels.max(initial=0.0)))
    unit = largest / ROW_SCALE if largest > 0 else 1.0
    return Row(
        key=key,
        options=options / unit,
        levels=levels / unit,
        limit=(limit - given) / unit,
        unit=unit,
        size=(abs(limit) + abs(given)) / unit,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PeakRows:
    """The peak of memory over x, y and one more variable w: the memory of the weights, which the steps share.

    Without w each step would repeat the weights of all options, thousands of entries a row.

    Attributes:
        weights: (1, X + Y + 1): Σ weights − w = 0.
        steps: (T, X + Y + 1): w + activations at step t.
        given: (T,) what no choice changes, to be added to `steps`.
        largest: what w can reach; all in units of `unit` bytes.
    """

    weights: sparse.csr_array
    steps: sparse.csr_array
    given: Floats
    largest: float
    unit: float


def peak_rows(table: CostTable, kept: tuple[NDArray[np.int64], ...]) -> PeakRows:
    """Rows for the peak of memory of a table with width groups."""
    weights = limit_row(table, kept, "weight_memory", 0.0)
    options, levels = weights.options * weights.unit, weights.levels * weights.unit
    steps = _peak_steps(table)
    each = np.array([more for _, more in steps]).reshape(len(steps), len(levels))
    unit = max(*(float(np.max(array, initial=0.0)) for array in (options, levels, each)), 1.0) / ROW_SCALE
    total = np.concatenate([options, levels])[None, :] / unit
    none = sparse.csr_array((len(steps), len(options)))
    return PeakRows(
        weights=sparse.hstack([sparse.csr_array(total), sparse.csr_array([[-1.0]])], format="csr"),
        steps=sparse.hstack([none, sparse.csr_array(np.hstack([each / unit, np.ones((len(steps), 1))]))], format="csr"),
        given=(np.array([base for base, _ in steps]) - weights.limit * weights.unit) / unit,
        largest=float(np.sum(options) + np.sum(levels)) / unit,
        unit=unit,
    )


def _peak_steps(table: CostTable) -> list[tuple[float, Floats]]:
    """Steps of the run that can hold the peak: those not below another step at every level."""
    peaks = table.peaks
    if peaks is None:
        raise AdvisorError("this cost table holds no activations; peak_memory needs them")
    steps = np.unique(np.concatenate([peaks.base[:, None], *peaks.levels], axis=1), axis=0)[::-1]
    stay: list[Floats] = []
    for step in steps:
        if not any(np.all(step <= other) for other in stay):
            stay.append(step)
    return [(float(step[0]), step[1:]) for step in stay]
