"""Where options off the grid come from: the patterns of a network, or a table's own curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from advisor.patterns.hierarchical import HIERARCHICAL
from advisor.patterns.option import Option
from advisor.planning.build import Built, build_table
from advisor.planning.constraints.asked import Asked
from advisor.planning.constraints.offered import with_options
from advisor.planning.constraints.restrict import restrict, solve_restricted
from advisor.planning.continuous.curves import Curve, curve_through
from advisor.planning.continuous.legal import legal_near, may_vary
from advisor.planning.sensitivity import sensitivity_named
from advisor.planning.sensitivity.shapes import kept_share
from advisor.planning.solving.solve import Solution, solve
from advisor.planning.table import Choice, CostTable

if TYPE_CHECKING:
    from advisor.planning.problem import Problem

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Of the gap, as what a solver leaves open must not hide what leaving the grid gains; and of the time for each solve.
FINER, QUICKER = 0.3, 0.15
_FACTORS = (0.96, 0.98, 0.99, 1.0, 1.01, 1.02, 1.04)  # of a wished density, where any can be kept


@dataclass(frozen=True, kw_only=True)
class OfNetwork:
    """Options that the patterns can keep, with every cost computed as those of the grid; see `leave.Offer`.

    Losses are estimated as those of the grid, too, where that only takes shapes or weights. Where it would take runs on
    data, they lie on the curve.
    """

    problem: Problem

    @property
    def table(self) -> CostTable:
        return self.problem.built.table

    @property
    def kept(self) -> Sequence[Ints]:
        return _kept(self.table, self.problem.constraints)

    @property
    def interpolates(self) -> bool:
        """Whether losses off the grid lie on the curve."""
        return sensitivity_named(self.problem.style.sensitivity).reads_data

    def may_vary(self, layer: int, option: Option) -> bool:
        # Attention layers stand behind the weights' and have the pairs of tokens that window and pool give.
        return option.pattern != HIERARCHICAL and may_vary(self.problem.network.sparsifiable[layer], option)

    def share(self, layer: int, option: Option) -> float:
        return kept_share(self.problem.network.sparsifiable[layer], option)

    def near(self, curve: Curve, chosen: int, density: float) -> Sequence[Option]:
        return legal_near(self.problem.network.sparsifiable[curve.layer], curve.option, density)

    def extended(self, more: Mapping[int, Sequence[Option]], curves: Mapping[int, Curve], choice: Choice) -> OfNetwork:
        problem, table = self.problem, self.table
        menu = with_options(
            problem.built.menu,
            {table.layers[layer]: options for layer, options in more.items()},
            {table.layers[layer]: table.requires[layer][choice[layer]] for layer in more},
        )
        made = build_table(
            problem.network,
            menu,
            profile=problem.profile,
            sensitivity="uniform" if self.interpolates else problem.style.sensitivity,
            exchange=problem.exchange,
            wanted=tuple(problem.budgets),
            given=problem.built.given,
        )
        if self.interpolates:
            made = _with_losses(made, table, more, curves)
        return replace(self, problem=replace(problem, built=replace(made, notes=problem.built.notes)))

    def solve(self, limits: Mapping[str, float], known: Choice | None) -> Solution:
        return finer(self.problem).solution(limits, known=known)


def finer(problem: Problem) -> Problem:
    """The problem with the solver's limits of one round."""
    return replace(problem, gap=FINER * problem.gap, time_limit=QUICKER * problem.time_limit)


def _with_losses(
    made: Built, before: CostTable, more: Mapping[int, Sequence[Option]], curves: Mapping[int, Curve]
) -> Built:
    loss = tuple(
        np.append(column, [curves[layer].loss_at(option.density) for option in more.get(layer, ())])
        for layer, column in enumerate(before.loss)
    )
    return replace(made, table=replace(made.table, loss=loss))


@dataclass(frozen=True, kw_only=True)
class OfTable:
    """Any density of a table that stands alone, its costs and loss on the curves; see `leave.Offer`."""

    table: CostTable
    asked: Asked
    whole: CostTable  # as it was given: the curves stay on its options
    options: Mapping[str, Any]  # of the solver

    @property
    def kept(self) -> Sequence[Ints]:
        return _kept(self.table, self.asked)

    def may_vary(self, layer: int, option: Option) -> bool:
        return True

    def share(self, layer: int, option: Option) -> float:
        return option.density

    def near(self, curve: Curve, chosen: int, density: float) -> Sequence[Option]:
        least, most = float(curve.densities[0]), float(curve.densities[-1])
        wanted = {math.floor(1e6 * min(max(density * factor, least), most)) / 1e6 for factor in _FACTORS}
        return [
            Option(pattern=curve.option.pattern, density=d, parameters=curve.option.parameters)
            for d in sorted(wanted)
            if least <= d <= most and d < 1
        ]

    def extended(self, more: Mapping[int, Sequence[Option]], curves: Mapping[int, Curve], choice: Choice) -> OfTable:
        table = self.table
        through = {
            layer: curve_through(self.whole, layer, curves[layer].option, table.requires[layer][choice[layer]], self)
            for layer in more
        }

        def longer(column: Floats, layer: int, value: Callable[[Curve, float], float]) -> Floats:
            new = [max(value(through[layer], option.density), 0.0) for option in more.get(layer, ())]
            return np.append(column, new)

        layers = range(len(table.layers))
        costs = {
            key: tuple(longer(columns[layer], layer, partial(_cost, key)) for layer in layers)
            for key, columns in table.costs.items()
        }
        needs = [table.requires[layer][choice[layer]] for layer in layers]
        return replace(
            self,
            table=replace(
                table,
                options=tuple((*table.options[layer], *more.get(layer, ())) for layer in layers),
                requires=tuple(
                    (*table.requires[layer], *((needs[layer],) * len(more.get(layer, ())))) for layer in layers
                ),
                costs=costs,
                loss=tuple(longer(table.loss[layer], layer, Curve.loss_at) for layer in layers),
            ),
        )

    def solve(self, limits: Mapping[str, float], known: Choice | None) -> Solution:
        if self.asked.rules:
            return solve_restricted(restrict(self.table, self.asked), limits, known=known, **self.options)
        return solve(self.table, limits, known=known, **self.options)


def _cost(key: str, curve: Curve, density: float) -> float:
    return curve.costs_at(density)[key]


def _kept(table: CostTable, asked: Asked) -> Sequence[Ints]:
    if asked.rules:
        return restrict(table, asked).kept
    return [np.arange(len(options)) for options in table.options]
