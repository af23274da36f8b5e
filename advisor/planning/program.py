"""The cost table as a mixed integer program for scipy's HiGHS."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from advisor.errors import AdvisorError
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
    ) -> Answer:
        """Runs HiGHS once.

        Args:
            limits: cost → upper limit of the whole network.
            minimise: a cost to minimise; None for the loss.
            gap: relative; stop there.
            time_limit: seconds.
            excluded: choices that must not come back.
            finer: scales the objective up, against the solver's absolute gap tolerance.
        """
        rows = [row for key, limit in limits.items() for row in self._limit_rows(key, limit)]
        objective, constant, peaks = self._objective(minimise)
        fixed = [row for row in rows if not row.options.any() and not row.levels.any()]
        if any(row.limit < -1e-9 * row.size for row in fixed):
            return Answer(status="infeasible", choice=None, bound=np.inf)
        scale = finer * _OBJECTIVE_SCALE / max(float(np.max(np.abs(objective), initial=0.0)), 1e-300)
        extra = 1 if peaks else 0  # z: the peak to minimise
        constraints = [LinearConstraint(_pad(self.structure, extra), self.sides, self.sides)]
        if limited := [_scaled(row) for row in rows if row.options.any() or row.levels.any()]:
            matrix = np.array([np.concatenate([r.options, r.levels]) for r in limited])
            sides = np.array([r.limit for r in limited])
            constraints.append(LinearConstraint(_pad(sparse.csr_array(matrix), extra), -np.inf, sides))
        if excluded:
            matrix = np.array([self._chosen(choice) for choice in excluded])
            most = len(self.table.layers) - 1
            constraints.append(LinearConstraint(_pad(sparse.csr_array(matrix), extra), -np.inf, most))
        if peaks:
            unit = max(float(np.max(np.abs(objective), initial=0.0)), *(abs(r.limit) for r in peaks), 1.0) / _ROW_SCALE
            matrix = np.array([np.concatenate([r.options, r.levels, [-unit]]) / unit for r in peaks])
            constraints.append(LinearConstraint(sparse.csr_array(matrix), -np.inf, [r.limit / unit for r in peaks]))
            objective, scale = np.append(np.zeros_like(objective), 1.0), 1.0 / unit
        integral = np.append(np.ones(self.size), np.zeros(extra))
        result = _interruptibly(
            milp,
            objective * (1.0 if peaks else scale),
            integrality=integral,
            bounds=Bounds(
                np.append(np.zeros(self.size), [-np.inf] * extra), np.append(np.ones(self.size), [np.inf] * extra)
            ),
            constraints=constraints,
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

    def _chosen(self, choice: Choice) -> Floats:
        return np.append((choice[self.layer_of] == self.option_of).astype(np.float64), np.zeros(self.level_offsets[-1]))

    def _column(self, key: str) -> tuple[Floats, Floats, float]:
        """One cost over the option and level variables, and its constant."""
        columns = self.table.costs[key]
        options = np.array([columns[layer][k] for layer, k in zip(self.layer_of, self.option_of, strict=True)])
        levels = [group.costs.get(key, np.zeros(len(group.levels))) for group in self.table.groups]
        return options, np.concatenate([*levels, np.zeros(0)]), self.table.constants.get(key, 0.0)

    def _limit_rows(self, key: str, limit: float) -> list[_Row]:
        if key != "peak_memory":
            options, levels, constant = self._column(key)
            return [self._row(options, levels, limit, constant)]
        options, levels, constant = self._column("weight_memory")
        return [self._row(options, levels + more, limit, constant + base) for base, more in self._peak_steps()]

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

    def _objective(self, minimise: str | None) -> tuple[Floats, float, list[_Row]]:
        if minimise is None:
            options = np.array(
                [self.table.loss[layer][k] for layer, k in zip(self.layer_of, self.option_of, strict=True)]
            )
            levels = [g.loss if g.loss is not None else np.zeros(len(g.levels)) for g in self.table.groups]
            return np.concatenate([options, *levels]), 0.0, []
        if minimise == "peak_memory":
            # weights + activations of a step ≤ z  ⇔  a·x + b·y − z ≤ −constant − base
            return np.zeros(self.size), 0.0, self._limit_rows("peak_memory", 0.0)
        options, shared, constant = self._column(minimise)
        return np.concatenate([options, shared]), constant, []


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
    if not columns:
        return matrix
    return sparse.hstack([matrix, sparse.csr_array((matrix.shape[0], columns))], format="csr")


def _interruptibly(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Calls a long C function so that Ctrl-C is heard at once: Python handles signals in its main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        return function(*args, **kwargs)
    outcome: Future[Any] = Future()

    def call() -> None:
        try:
            outcome.set_result(function(*args, **kwargs))
        except BaseException as error:
            outcome.set_exception(error)

    # A daemon, so that an interrupted process ends without waiting for the solver.
    threading.Thread(target=call, daemon=True).start()
    return outcome.result()
