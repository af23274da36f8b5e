"""The cost table as a mixed integer program for scipy's HiGHS."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from advisor.errors import AdvisorError
from advisor.planning.solving.interrupt import interruptibly
from advisor.planning.solving.reduce import undominated
from advisor.planning.solving.rows import Block, Floats, Row, column, limit_row, peak_rows
from advisor.planning.solving.ties import count_rows, structure_rows
from advisor.planning.table import Choice, CostTable

# HiGHS stops at an absolute gap of 1e-6, so the objective is scaled up to this.
OBJECTIVE_SCALE = 1e4


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What HiGHS said: a choice if it found one, and a bound in the objective's unit."""

    status: Literal["optimal", "time limit", "infeasible"]
    choice: Choice | None
    bound: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Binary x[l, k] picks option k of layer l, binary y[g, v] level v of group g.

        Σ_k x[l, k] = 1                              for every layer l
        Σ_{k that requires (g, v)} x[l, k] = y[g, v]  for every layer l that follows group g, every level v
        Σ costs ≤ limit                              for every budget; for peak memory one row per step of the run

    and, where at most N patterns may be used, binary u[p] allows pattern p:

        Σ_{k of pattern p} x[l, k] ≤ u[p]             for every layer l, every pattern p but dense
        Σ_p u[p] ≤ N

    Options that another one dominates are left out (`reduce`).
    """

    table: CostTable
    kept: tuple[NDArray[np.int64], ...]
    layer_of: NDArray[np.int64]  # (X,) the layer of each option variable
    option_of: NDArray[np.int64]  # (X,) its option
    level_offsets: tuple[int, ...]  # (G + 1,) where each group's levels start among the y
    structure: sparse.csr_array = field(repr=False)  # equalities over x and y; the first L are the layers'
    sides: Floats = field(repr=False)
    max_patterns: int | None = None
    patterns: tuple[str, ...] = ()  # all but dense, where their number is limited
    pattern_rows: Block | None = field(default=None, repr=False)  # over x, y and u

    @property
    def size(self) -> int:
        """Option and level variables."""
        return len(self.layer_of) + self.level_offsets[-1]

    @property
    def binaries(self) -> int:
        """All but the weights' and the peak's memory."""
        return self.size + len(self.patterns)

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
        among: NDArray[np.bool_] | None = None,
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
            among: (X,) the options to choose from, all where None; the bound then holds for these alone.
        """
        rows = self.limit_rows(limits)
        if any(row.is_broken for row in rows):
            return Answer(status="infeasible", choice=None, bound=np.inf)
        objective, constant = self.objective(minimise)
        scale = finer * OBJECTIVE_SCALE / max(float(np.max(np.abs(objective), initial=0.0)), 1e-300)
        objective = objective * scale
        blocks = [Block(self.structure, self.sides, self.sides), *self.blocks(rows)]
        if excluded:
            matrix = sparse.csr_array([self._chosen(choice) for choice in excluded])
            most = np.full(len(excluded), len(self.table.layers) - 1.0)
            blocks.append(Block(matrix, np.full(len(excluded), -np.inf), most))
        lower, upper = np.zeros(self.binaries), self._allowed(levels, among)
        if self._has_peak(limits, minimise):
            peak = peak_rows(self.table, self.kept)
            # Two more variables: the weights' memory w and the peak z. HiGHS lets z rest at its limit.
            highest = limits.get("peak_memory", np.inf) / peak.unit
            lower, upper = np.append(lower, [0.0, -np.inf]), np.append(upper, [peak.largest, highest])
            objective = np.append(objective, [0.0, 1.0 if minimise == "peak_memory" else 0.0])
            below = sparse.csr_array(-np.ones((len(peak.given), 1)))
            blocks.append(Block(self.over_all(peak.weights), np.zeros(1), np.zeros(1)))
            steps = sparse.hstack([self.over_all(peak.steps), below], format="csr")
            blocks.append(Block(steps, np.full(len(peak.given), -np.inf), -peak.given))
            if minimise == "peak_memory":
                scale, constant = 1.0 / peak.unit, 0.0
        result = interruptibly(
            milp,
            objective,
            integrality=np.append(np.ones(self.binaries), np.zeros(len(lower) - self.binaries)),
            bounds=Bounds(lower, upper),
            constraints=[LinearConstraint(_pad(block.matrix, len(lower)), block.least, block.most) for block in blocks],
            options={"mip_rel_gap": gap, "time_limit": max(time_limit, 1e-3)},
        )
        if result.status == 2:
            return Answer(status="infeasible", choice=None, bound=np.inf)
        if result.status not in (0, 1):
            raise AdvisorError(f"the solver gave up: {result.message}; report the table that caused it")
        dual = result.mip_dual_bound
        bound = -np.inf if dual is None or not np.isfinite(dual) else float(dual) / scale + constant
        choice = None if result.x is None else self.read(result.x)
        return Answer(status="optimal" if result.status == 0 else "time limit", choice=choice, bound=bound)

    def limit_rows(self, limits: Mapping[str, float]) -> list[Row]:
        """One row per limit, but for a peak of memory that follows the width groups."""
        return [
            limit_row(self.table, self.kept, key, limit)
            for key, limit in limits.items()
            if not self._has_peak({key: limit})
        ]

    def blocks(self, rows: Sequence[Row]) -> list[Block]:
        """The inequalities of limits that hold something to choose, and of the patterns' number."""
        found = []
        if limited := [row for row in rows if not row.is_empty]:
            matrix = sparse.csr_array([np.concatenate([row.options, row.levels]) for row in limited])
            most = np.array([row.limit for row in limited])
            found.append(Block(matrix, np.full(len(limited), -np.inf), most))
        return [*found, self.pattern_rows] if self.pattern_rows is not None else found

    def objective(self, minimise: str | None = None) -> tuple[Floats, float]:
        """What each binary variable adds, and what stands beside it."""
        if self._has_peak({}, minimise):
            return np.zeros(self.binaries), 0.0
        if minimise == "peak_memory" and self.table.peaks is not None:
            options, shared, constant = column(self.table, self.kept, "weight_memory")
            constant += self.table.peaks.peak(())
        else:
            options, shared, constant = column(self.table, self.kept, minimise)
        return np.concatenate([options, shared, np.zeros(len(self.patterns))]), constant

    def read(self, values: Floats) -> Choice:
        """Per layer the option with the largest value."""
        order = np.lexsort((-values[: len(self.layer_of)], self.layer_of))
        first = np.concatenate([[0], np.cumsum([len(ks) for ks in self.kept])[:-1]])
        choice: Choice = self.option_of[order[first]]
        return choice

    def _has_peak(self, limits: Collection[str], minimise: str | None = None) -> bool:
        return bool(self.table.groups) and ("peak_memory" in limits or minimise == "peak_memory")

    def over_all(self, matrix: sparse.csr_array) -> sparse.csr_array:
        """Rows over x, y and one more variable as rows over x, y, u and that variable."""
        none = sparse.csr_array((matrix.shape[0], len(self.patterns)))
        return sparse.hstack([matrix[:, : self.size], none, matrix[:, self.size :]], format="csr")

    def _allowed(self, levels: Sequence[Collection[int]] | None, among: NDArray[np.bool_] | None) -> Floats:
        """Upper bounds of the binary variables: 1, or 0 for what is not to be chosen."""
        upper = np.ones(self.binaries)
        if among is not None:
            upper[: len(self.layer_of)] = among
        for start, group, allowed in zip(self.level_offsets, self.table.groups, levels or (), strict=False):
            away = [level for level in range(len(group.levels)) if level not in allowed]
            upper[len(self.layer_of) + start + np.array(away, dtype=np.int64)] = 0.0
        return upper

    def _chosen(self, choice: Choice) -> Floats:
        return np.append((choice[self.layer_of] == self.option_of).astype(np.float64), np.zeros(self.level_offsets[-1]))


def build_program(
    table: CostTable, keys: Sequence[str], *, loss: bool = True, max_patterns: int | None = None
) -> Program:
    """The program over `table` for limits on, or a minimum of, any of `keys`.

    Args:
        max_patterns: at most so many different patterns beside dense; any number where None.
    """
    columns = dict.fromkeys("weight_memory" if key == "peak_memory" else key for key in keys)
    kept = undominated(table, tuple(columns), loss=loss, across_patterns=max_patterns is None)
    layer_of = np.repeat(np.arange(len(kept)), [len(ks) for ks in kept]).astype(np.int64)
    option_of = np.concatenate(kept)
    offsets = np.concatenate([[0], np.cumsum([len(group.levels) for group in table.groups])]).astype(int)
    structure, sides = structure_rows(table, layer_of, option_of, offsets)
    patterns, pattern_rows = count_rows(table, layer_of, option_of, int(offsets[-1]), max_patterns)
    return Program(
        table=table,
        kept=kept,
        layer_of=layer_of,
        option_of=option_of,
        level_offsets=tuple(int(offset) for offset in offsets),
        structure=structure,
        sides=sides,
        max_patterns=max_patterns,
        patterns=patterns,
        pattern_rows=pattern_rows,
    )


def _pad(matrix: sparse.csr_array, columns: int) -> sparse.csr_array:
    """The same rows over `columns` variables."""
    more = columns - matrix.shape[1]
    return sparse.hstack([matrix, sparse.csr_array((matrix.shape[0], more))], format="csr") if more else matrix
