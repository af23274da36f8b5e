"""The linear relaxation of the program: a bound, what each limit is worth, and what an option adds at least."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linprog

from advisor.planning.solving.interrupt import interruptibly
from advisor.planning.solving.lagrangian import dual
from advisor.planning.solving.program import OBJECTIVE_SCALE, Program
from advisor.planning.solving.rows import Floats, PeakRows, Row, peak_rows
from advisor.planning.table import Choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxation:
    """What the linear relaxation says of the program.

    Attributes:
        bound: no choice within the limits loses less.
        prices: cost → how much less the relaxed plan would lose per unit of a larger limit; 0 where it does not bind.
        reduced: (X,) no choice within the limits that takes this option loses less than `bound` + `reduced`.
        choice: one within the limits, where one was found on the way.
        levels: (G,) per width group the level that has the largest share.
    """

    status: Literal["solved", "infeasible", "time limit"]
    bound: float
    prices: Mapping[str, float] = field(default_factory=dict)
    reduced: Floats = field(default_factory=lambda: np.zeros(0))
    choice: Choice | None = None
    levels: tuple[int, ...] | None = None


def relax(program: Program, limits: Mapping[str, float], *, time_limit: float) -> Relaxation:
    """Solves the relaxation: by its Lagrangian dual where nothing ties the layers but the limits, else by HiGHS.

    Bound and reduced costs are computed from the multipliers alone, by weak duality (Geoffrion 1974), so they hold
    whatever the solver's tolerances: with multipliers λ of the limits and π of what ties the layers,

        L(λ, π) = Σ_l min_k c̄[l, k] + Σ_g min_v c̄[g, v] − λ·limits,   c̄ = c + Aᵀλ − Eᵀπ.

    Args:
        time_limit: seconds; without an answer by then the status is "time limit" and the bound minus infinity.
    """
    rows = program.limit_rows(limits)
    if any(row.is_broken for row in rows):
        return Relaxation(status="infeasible", bound=np.inf)
    if not program.table.groups and program.pattern_rows is None:
        return _by_dual(program, limits, [row for row in rows if not row.is_empty], time_limit)
    return _by_highs(program, limits, rows, time_limit)


def _by_dual(program: Program, limits: Mapping[str, float], rows: list[Row], time_limit: float) -> Relaxation:
    loss, _ = program.objective()
    found = dual(
        loss,
        np.array([row.options for row in rows]).reshape(len(rows), len(loss)),
        np.array([row.limit for row in rows]),
        np.array([len(ks) for ks in program.kept]),
        time_limit=time_limit,
    )
    if found.is_infeasible:
        return Relaxation(status="infeasible", bound=np.inf)
    prices = dict.fromkeys(limits, 0.0)
    for row, multiplier in zip(rows, found.multipliers, strict=True):
        prices[row.key] = float(multiplier) / row.unit
    choice = None
    if found.places is not None:
        first = np.concatenate([[0], np.cumsum([len(ks) for ks in program.kept])[:-1]])
        choice = program.option_of[first + found.places]
    return Relaxation(status="solved", bound=found.bound, prices=prices, reduced=found.reduced, choice=choice)


def _by_highs(program: Program, limits: Mapping[str, float], rows: list[Row], time_limit: float) -> Relaxation:
    objective, _ = program.objective()
    scale = OBJECTIVE_SCALE / max(float(np.max(np.abs(objective), initial=0.0)), 1e-300)
    owners = [row.key for row in rows if not row.is_empty]
    units = [row.unit for row in rows if not row.is_empty]
    blocks = program.blocks(rows)
    matrices, most = [block.matrix for block in blocks], [block.most for block in blocks]
    upper = np.ones(program.binaries)
    peak: PeakRows | None = None
    if "peak_memory" in limits and program.table.groups:
        peak = peak_rows(program.table, program.kept)
        limit = limits["peak_memory"] / peak.unit - peak.given
        if limit.min() < -1e-6 * max(abs(limits["peak_memory"]) / peak.unit, 1.0):
            return Relaxation(status="infeasible", bound=np.inf)
        upper = np.append(upper, peak.largest)
        matrices.append(program.over_all(peak.steps))
        most.append(limit)
    columns = len(upper)
    structure = _widened(program.structure, columns)
    if peak is not None:
        structure = sparse.vstack([structure, program.over_all(peak.weights)], format="csr")
    sides = np.append(program.sides, np.zeros(structure.shape[0] - len(program.sides)))
    inequalities = sparse.vstack([_widened(m, columns) for m in matrices], format="csr") if matrices else None
    result = interruptibly(
        linprog,
        _lengthened(objective * scale, columns),
        A_ub=inequalities,
        b_ub=np.concatenate(most) if most else None,
        A_eq=structure,
        b_eq=sides,
        bounds=np.column_stack([np.zeros(columns), upper]),
        method="highs",
        options={"time_limit": max(time_limit, 1e-3)},
    )
    if result.status == 2:
        return Relaxation(status="infeasible", bound=np.inf)
    if result.status != 0:
        return Relaxation(status="time limit", bound=-np.inf)
    given = np.minimum(result.ineqlin.marginals, 0.0) if most else np.zeros(0)
    ties = result.eqlin.marginals.copy()
    layers = len(program.table.layers)
    ties[:layers] = 0.0  # each layer's own minimum takes the place of its multiplier
    left = _lengthened(objective * scale, columns) - structure.T @ ties
    if inequalities is not None:
        left = left - inequalities.T @ given
    bound, reduced = _weak_duality(program, left, upper)
    bound = (bound + float(given @ np.concatenate(most)) if most else bound) / scale
    prices = dict.fromkeys(limits, 0.0)
    for key, unit, multiplier in zip(owners, units, -given, strict=False):
        prices[key] = float(multiplier) / unit / scale
    if peak is not None:
        prices["peak_memory"] = float(-given[len(given) - len(peak.given) :].sum()) / peak.unit / scale
    shares = result.x[len(program.layer_of) :]
    levels = tuple(int(np.argmax(shares[a:b])) for a, b in pairwise(program.level_offsets))
    return Relaxation(status="solved", bound=bound, prices=prices, reduced=reduced / scale, levels=levels)


def _weak_duality(program: Program, left: Floats, upper: Floats) -> tuple[float, Floats]:
    """The least of `left` over one option per layer, one level per group and all else free in its bounds."""
    count, levels = len(program.layer_of), program.level_offsets
    starts = np.concatenate([[0], np.cumsum([len(ks) for ks in program.kept])[:-1]])
    least = np.minimum.reduceat(left[:count], starts)
    bound = float(least.sum())
    for first, last in pairwise(levels):
        bound += float(left[count + first : count + last].min())
    rest = left[program.size :]
    bound += float(np.minimum(rest * upper[program.size :], 0.0).sum())
    return bound, left[:count] - least[program.layer_of]


def within(relaxed: Relaxation, reach: float) -> NDArray[np.bool_]:
    """(X,) the options that a choice of a loss below `bound` + `reach` can take.

    Loses nothing (reduced-cost fixing; Dantzig, Fulkerson and Johnson 1954): whatever takes one of the others loses at
    least as much. Sums are allowed their rounding error.
    """
    return relaxed.reduced <= reach + 1e-9 * (abs(relaxed.bound) + abs(reach))


def _widened(matrix: sparse.csr_array, columns: int) -> sparse.csr_array:
    more = columns - matrix.shape[1]
    return sparse.hstack([matrix, sparse.csr_array((matrix.shape[0], more))], format="csr") if more else matrix


def _lengthened(values: Floats, size: int) -> Floats:
    return np.append(values, np.zeros(size - len(values)))
