"""From the exact plan on the grid to a better one between its densities, or back to the grid's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from advisor.patterns.option import Option
from advisor.planning.continuous.curves import Curve, Varying, curves_of
from advisor.planning.continuous.descend import descend
from advisor.planning.solving.solve import Solution
from advisor.planning.table import Choice, CostTable
from advisor.plans.relaxation import Relaxation

_ROUNDS = 4
_WORTH = 1e-9  # relative; less is no gain


class Offer(Varying, Protocol):
    """Where options off the grid come from, and who solves with them."""

    @property
    def table(self) -> CostTable:
        """All options so far; new ones stand behind those of before."""
        ...

    @property
    def kept(self) -> Sequence[NDArray[np.int64]]:
        """Per layer the options that the constraints leave."""
        ...

    def near(self, curve: Curve, chosen: int, density: float) -> Sequence[Option]:
        """Options to try near a density on a curve; `chosen` is the layer's present option."""
        ...

    def extended(self, more: Mapping[int, Sequence[Option]], curves: Mapping[int, Curve], choice: Choice) -> Offer:
        """The same with further options of layers, at the widths of the choice; costs are computed, not guessed."""
        ...

    def solve(self, limits: Mapping[str, float], known: Choice | None) -> Solution:
        """The best choice of all that is offered, as good as a `known` one at least."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """The best plan found, on an offer's table; `relaxation` says what it gained."""

    offer: Offer
    found: Solution
    relaxation: Relaxation
    fixed: int  # layers that had no curve, though they are not dense


def leave_grid(offer: Offer, found: Solution, limits: Mapping[str, float]) -> Left:
    """Relaxes the densities of an exact plan, offers what can be kept near them, and solves again.

    Solving exactly over the grid and what lies next to the relaxed densities is the rounding: its plan is within every
    limit on the computed costs, and never worse than the grid's. The next round starts where this one ended, until
    nothing is gained.

    Args:
        offer: the grid.
        found: its best plan.
        limits: cost → upper limit.
    """
    first, relaxed, steps = found, found.objective, 0
    last, fixed = offer, 0  # `last` is what `found` was chosen from, and its bound holds for
    for round_ in range(_ROUNDS):
        curves = curves_of(offer.table, found.choice, limits, kept=offer.kept, varying=offer)
        if round_ == 0:
            moving = {curve.layer for curve in curves}
            chosen = enumerate(zip(offer.table.options, found.choice, strict=True))
            fixed = sum(options[k].pattern != "dense" and layer not in moving for layer, (options, k) in chosen)
        if not curves:
            break
        wished = descend(offer.table, found.choice, curves, limits, offer)
        steps += wished.steps
        relaxed = min(relaxed, wished.objective)
        more = {
            curve.layer: new
            for curve, density in zip(curves, wished.densities, strict=True)
            if (new := _new(offer, curve, int(found.choice[curve.layer]), density))
        }
        if not more:
            break
        offer = offer.extended(more, {curve.layer: curve for curve in curves}, found.choice)
        better = offer.solve(limits, _rounded(offer, found.choice, curves, wished.densities, limits))
        if better.objective >= found.objective * (1 - _WORTH):
            break
        found, last = better, offer
    gain = (first.objective - found.objective) / first.objective if first.objective else 0.0
    return Left(
        offer=last,
        found=found,
        relaxation=Relaxation(
            gain=gain,
            objective_grid=first.objective,
            objective_relaxed=relaxed,
            objective=found.objective,
            steps=steps,
        ),
        fixed=fixed,
    )


def _rounded(
    offer: Offer, choice: Choice, curves: Sequence[Curve], densities: Sequence[float], limits: Mapping[str, float]
) -> Choice:
    """The choice with each layer at the most that can be kept of its relaxed density, where that is within the limits.

    A good plan to start from: the solver only has to look for better ones.
    """
    table, rounded = offer.table, choice.copy()
    for curve, density in zip(curves, densities, strict=True):
        options, needs = table.options[curve.layer], table.requires[curve.layer]
        shares = {
            k: share
            for k, option in enumerate(options)
            if needs[k] == needs[choice[curve.layer]]
            and (option.pattern == "dense" or _alike(option, curve.option))
            and (share := offer.share(curve.layer, option)) <= density * (1 + 1e-9)
        }
        if shares:
            rounded[curve.layer] = max(shares, key=lambda k: shares[k])
    within = all(table.total(key, rounded) <= limit for key, limit in limits.items())
    return rounded if within and table.objective(rounded) < table.objective(choice) else choice


def _new(offer: Offer, curve: Curve, chosen: int, density: float) -> list[Option]:
    """What is offered near a density and is not there yet, at the same widths."""
    table = offer.table
    options, needs = table.options[curve.layer], table.requires[curve.layer]
    there = {o.density for o, n in zip(options, needs, strict=True) if n == needs[chosen] and _alike(o, curve.option)}
    return [option for option in offer.near(curve, chosen, density) if option.density not in there]


def _alike(option: Option, other: Option) -> bool:
    return option.pattern == other.pattern and dict(option.parameters) == dict(other.parameters)
