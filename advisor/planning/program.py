"""The cost table as a mixed integer program for scipy's HiGHS."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from advisor.errors import AdvisorError
from advisor.planning.interrupt import interruptibly
from advisor.planning.reduce import undominated
from advisor.planning.table import Choice, CostTable

Floats = NDArray[np.float64]

# HiGHS works with absolute tolerances (1e-6 on rows and on the gap), so rows and objective are scaled up to these.
_ROW_SCALE = 1e3
_OBJECTIVE_SCALE = 1e4


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What HiGHS said: a choice if it found one, and a bound in the objective's unit."""

    status: Literal["optimal", "time limit", "infeasible"]
    choice: Choice | None
    bound: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """Σ a·x + Σ b·y ≤ limit, over options x and levels y; `size` is the order of magnitude of the numbers behind it."""

    options: Floats
    levels: Floats
    limit: float
    size: float

    @property
    def is_empty(self) -> bool:
        return not self.options.any() and not self.levels.any()


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Binary x[l, k] picks option k of layer l, binary y[g, v] level v of group g.

        Σ_k x[l, k] = 1                              for every layer l
        Σ_{k that requires (g, v)} x[l, k] = y[g, v]  for every layer l that follows group g, every level v
        Σ costs ≤ limit                              for every budget; for peak memory one row per step of the run

    Options that another one dominates are left out (`reduce`).
    """

    table: CostTable
    kept: tuple[NDArray[np.int64], ...]
    layer_of: NDArray[np.int64]  # (X,) the layer of each option variable
    option_of: NDArray[np.int64]  # (X,) its option
    level_offsets: tuple[int, ...]  # (G + 1,) where each group's levels start among the y
    structure: sparse.csr_array = field(repr=False)  # equalities over x and y
    sides: Floats = field(repr=False)

    def solve(
        self,
        limits: Mapping[str, float],
        *,
        minimise: str | None = None,
        gap: float,
        time_limit: float,
        excluded: Sequence[Choice] = (),
        finer: float = 1.0,
        levels: Sequence[Collection[int]] | None = None,
    ) -> Answer:
        """Runs HiGHS once.

        Args:
            limits: cost → upper limit of the whole network.
            minimise: a cost to minimise; None for the loss.
            gap: relative; stop there.
            time_limit: seconds.
            excluded: choices that must not come back.
            finer: scales the objective up, against the solver's absolute gap tolerance.
            levels: per group the levels to choose from, all where None; the bound then holds for these alone.
        """
        rows = [self._limit_row(key, limit) for key, limit in limits.items() if key != "peak_memory"]
        if any(row.limit < -1e-9 * row.size for row in rows if row.is_empty):
            return Answer(status="infeasible", choice=None, bound=np.inf)
        objective, constant = self._objective(minimise)
        scale = finer * _OBJECTIVE_SCALE / max(float(np.max(np.abs(objective), initial=0.0)), 1e-300)
        lower, upper = np.zeros(self.size), self._allowed(levels)
        blocks: list[tuple[sparse.csr_array, Floats, Floats]] = [(self.structure, self.sides, self.sides)]
        if limited := [_scaled(row) for row in rows if not row.is_empty]:
            matrix = sparse.csr_array([np.concatenate([r.options, r.levels]) for r in limited])
            blocks.append((matrix, np.full(len(limited), -np.inf), np.array([r.limit for r in limited])))
        if excluded:
            matrix = sparse.csr_array([self._chosen(choice) for choice in excluded])
            most = np.full(len(excluded), len(self.table.layers) - 1.0)
            blocks.append((matrix, np.full(len(excluded), -np.inf), most))
        objective = objective * scale
        if "peak_memory" in limits or minimise == "peak_memory":
            rest, unit = self._peak_rows(limits.get("peak_memory"))
            blocks += rest
            # two more variables: the weights' memory w, at least 0, and the peak z
            lower, upper = np.append(lower, [0.0, -np.inf]), np.append(upper, [np.inf, np.inf])
            objective = np.append(objective, [0.0, 1.0 if minimise == "peak_memory" else 0.0])
            if minimise == "peak_memory":
                scale = 1.0 / unit
        result = interruptibly(
            milp,
            objective,
            integrality=np.append(np.ones(self.size), np.zeros(len(lower) - self.size)),
            bounds=Bounds(lower, upper),
            constraints=[LinearConstraint(_pad(matrix, len(lower)), least, most) for matrix, least, most in blocks],
            options={"mip_rel_gap": gap, "time_limit": max(time_limit, 1e-3)},
        )
        if result.status == 2:
            return Answer(status="infeasible", choice=None, bound=np.inf)
        if result.status not in (0, 1):
            raise AdvisorError(f"the solver gave up: {result.message}; report the table that caused it")
        dual = result.mip_dual_bound
        bound = -np.inf if dual is None or not np.isfinite(dual) else float(dual) / scale + constant
        choice = None if result.x is None else self._read(result.x)
        return Answer(status="optimal" if result.status == 0 else "time limit", choice=choice, bound=bound)

    @property
    def size(self) -> int:
        return len(self.layer_of) + self.level_offsets[-1]

    def _read(self, values: Floats) -> Choice:
        choice = np.zeros(len(self.table.layers), dtype=np.int64)
        best = np.full(len(choice), -np.inf)
        for value, layer, option in zip(values, self.layer_of, self.option_of, strict=False):
            if value > best[layer]:
                best[layer], choice[layer] = value, option
        return choice

    def _allowed(self, levels: Sequence[Collection[int]] | None) -> Floats:
        """Upper bounds of options and levels: 1, or 0 for levels that are not to be chosen."""
        upper = np.ones(self.size)
        for start, group, allowed in zip(self.level_offsets, self.table.groups, levels or (), strict=False):
            away = [level for level in range(len(group.levels)) if level not in allowed]
            upper[len(self.layer_of) + start + np.array(away, dtype=np.int64)] = 0.0
        return upper

    def _chosen(self, choice: Choice) -> Floats:
        return np.append((choice[self.layer_of] == self.option_of).astype(np.float64), np.zeros(self.level_offsets[-1]))

    def _column(self, key: str) -> tuple[Floats, Floats, float]:
        """One cost over the option and level variables, and its constant."""
        columns = self.table.costs[key]
        options = np.array([columns[layer][k] for layer, k in zip(self.layer_of, self.option_of, strict=True)])
        levels = [group.costs.get(key, np.zeros(len(group.levels))) for group in self.table.groups]
        return options, np.concatenate([*levels, np.zeros(0)]), self.table.constants.get(key, 0.0)

    def _limit_row(self, key: str, limit: float) -> _Row:
        options, levels, constant = self._column(key)
        return self._row(options, levels, limit, constant)

    def _peak_rows(self, limit: float | None) -> tuple[list[tuple[sparse.csr_array, Floats, Floats]], float]:
        """Rows over x, y, w and z: w is the weights' memory, z at least w and the activations of every step.

        Without w each step would repeat the weights of all options, thousands of entries a row.
        """
        weights = self._limit_row("weight_memory", 0.0)
        given = -weights.limit
        steps = self._peak_steps()
        each = np.array([more for _, more in steps]).reshape(len(steps), self.level_offsets[-1])
        most = (weights.options, weights.levels, each)
        unit = max(*(float(np.max(array, initial=0.0)) for array in most), 1.0) / _ROW_SCALE
        total = np.concatenate([weights.options, weights.levels])[None, :] / unit
        equal = sparse.hstack([sparse.csr_array(total), sparse.csr_array([[-1.0, 0.0]])], format="csr")
        ones = np.ones((len(steps), 1))
        none = sparse.csr_array((len(steps), len(self.layer_of)))
        alive = sparse.hstack([none, sparse.csr_array(np.hstack([each / unit, ones, -ones]))], format="csr")
        fixed = -(given + np.array([base for base, _ in steps])) / unit
        rows = [(equal, np.zeros(1), np.zeros(1)), (alive, np.full(len(steps), -np.inf), fixed)]
        if limit is not None:
            place = sparse.csr_array(([1.0], ([0], [self.size + 1])), shape=(1, self.size + 2))
            rows.append((place, np.full(1, -np.inf), np.array([limit / unit])))
        return rows, unit

    def _row(self, options: Floats, levels: Floats, limit: float, constant: float) -> _Row:
        # One option per layer is chosen, so each layer's smallest cost is a constant: smaller numbers, finer tolerance.
        least = np.full(len(self.table.layers), np.inf)
        np.minimum.at(least, self.layer_of, options)
        given = float(least.sum()) + constant
        return _Row(
            options=options - least[self.layer_of], levels=levels, limit=limit - given, size=abs(limit) + abs(given)
        )

    def _peak_steps(self) -> list[tuple[float, Floats]]:
        """Steps of the run that can hold the peak: those not below another step at every level."""
        peaks = self.table.peaks
        if peaks is None:
            raise AdvisorError("this cost table holds no activations; peak_memory needs them")
        steps = np.unique(np.concatenate([peaks.base[:, None], *peaks.levels], axis=1), axis=0)[::-1]
        stay: list[Floats] = []
        for step in steps:
            if not any(np.all(step <= other) for other in stay):
                stay.append(step)
        return [(float(step[0]), step[1:]) for step in stay]

    def _objective(self, minimise: str | None) -> tuple[Floats, float]:
        if minimise == "peak_memory":
            return np.zeros(self.size), 0.0
        if minimise is not None:
            options, shared, constant = self._column(minimise)
            return np.concatenate([options, shared]), constant
        options = np.array([self.table.loss[layer][k] for layer, k in zip(self.layer_of, self.option_of, strict=True)])
        levels = [g.loss if g.loss is not None else np.zeros(len(g.levels)) for g in self.table.groups]
        return np.concatenate([options, *levels]), 0.0


def build_program(table: CostTable, keys: Sequence[str], *, loss: bool = True) -> Program:
    """The program over `table` for limits on, or a minimum of, any of `keys`."""
    columns = dict.fromkeys("weight_memory" if key == "peak_memory" else key for key in keys)
    kept = undominated(table, tuple(columns), loss=loss)
    layer_of = np.concatenate([np.full(len(ks), layer) for layer, ks in enumerate(kept)]).astype(np.int64)
    option_of = np.concatenate(kept)
    offsets = np.concatenate([[0], np.cumsum([len(group.levels) for group in table.groups])]).astype(int)
    count, levels = len(layer_of), int(offsets[-1])
    entries: list[tuple[int, int, float]] = [(int(layer), i, 1.0) for i, layer in enumerate(layer_of)]
    sides = [1.0] * len(table.layers)
    links: dict[tuple[int, int, int], int] = {}
    for layer, needs in enumerate(table.requires):
        for group, _ in needs[0]:
            for level in range(len(table.groups[group].levels)):
                links[layer, group, level] = len(sides)
                entries.append((len(sides), count + int(offsets[group]) + level, -1.0))
                sides.append(0.0)
    for i, (layer, k) in enumerate(zip(layer_of, option_of, strict=True)):
        entries += [(links[int(layer), group, level], i, 1.0) for group, level in table.requires[layer][k]]
    rows, places, values = zip(*entries, strict=True)
    structure = sparse.csr_array((values, (rows, places)), shape=(len(sides), count + levels))
    return Program(
        table=table,
        kept=kept,
        layer_of=layer_of,
        option_of=option_of,
        level_offsets=tuple(int(offset) for offset in offsets),
        structure=structure,
        sides=np.array(sides),
    )


def _scaled(row: _Row) -> _Row:
    unit = max(float(np.max(row.options, initial=0.0)), float(np.max(row.levels, initial=0.0)), 1e-300) / _ROW_SCALE
    return replace(row, options=row.options / unit, levels=row.levels / unit, limit=row.limit / unit)


def _pad(matrix: sparse.csr_array, columns: int) -> sparse.csr_array:
    """The same rows over `columns` variables."""
    more = columns - matrix.shape[1]
    return sparse.hstack([matrix, sparse.csr_array((matrix.shape[0], more))], format="csr") if more else matrix
