"""Which plans to train so that their losses say what each layer and each pattern is worth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from advisor.errors import BudgetError, PlanError
from advisor.planning.assemble import Quality, Style, assemble
from advisor.planning.budgets import Budget, parse_budgets
from advisor.planning.build import build_table
from advisor.planning.menu.options import DEFAULT_PATTERNS, checked_patterns, menu
from advisor.planning.sensitivity import kept_share
from advisor.planning.solving.solve import solve

if TYPE_CHECKING:
    from advisor.devices.profile import Profile
    from advisor.network import Network
    from advisor.patterns.option import Option
    from advisor.planning.build import Built
    from advisor.planning.table import Choice
    from advisor.plans.plan import Plan

Floats = NDArray[np.float64]

SPREAD = 1.2  # of the logarithm of a layer's random price: a density varies by a factor of three either way
PATTERN_SPREAD = 0.7  # of the logarithm of a pattern's price within a layer, so that patterns mix
FORBIDDEN = 1e3  # the price of an option of another pattern
GAP = 0.02  # of each draw's program: a random price needs no proof
TIME_LIMIT = 20.0  # seconds of each draw's program
POOL = 3  # draws per plan that is chosen
NOISE = 0.2  # of a run, as a share of what a plan of typical prices loses


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """One legal plan on the table: its choice, which patterns it was allowed, and within which limits."""

    choice: Choice
    patterns: tuple[str, ...]
    limits: Mapping[str, float]


def design(
    network: Network,
    count: int,
    *,
    budgets: Sequence[Mapping[str, str | float | Budget] | Sequence[str]],
    patterns: Sequence[str] | None = None,
    profile: Profile | None = None,
    include_ends: bool = False,
    rounding: str = "ceil",
    seed: int = 0,
) -> tuple[Plan, ...]:
    """`count` plans that tell layers and patterns apart, each at one of the budgets.

    Of 3 times as many random plans (`draw`; every pattern alone and all mixed, budget by budget) those are taken, one
    after the other, that add most to the information about the response curves: the greedy form of a Bayesian
    D-optimal design (Chaloner and Verdinelli 1995), by the curves' gradient at their prior.

    Args:
        network: analysed.
        count: of plans, 1 or more.
        budgets: one or more sets of budgets, as `advisor.plan` takes them.
        seed: of the draws; equal seeds give equal plans.

    Raises:
        BudgetError: a budget that no pattern meets. PatternError: an unknown pattern. PlanError: no plans asked for.
    """
    check_design(count, budgets)
    names = checked_patterns(patterns if patterns is not None else DEFAULT_PATTERNS)
    parsed = [parse_budgets(one) for one in budgets]
    wanted = tuple(dict.fromkeys(key for one in parsed for key in one))
    choices = menu(network, names, rounding=rounding, include_ends=include_ends)
    built = build_table(network, choices, profile=profile, sensitivity="uniform", wanted=wanted)
    dense = built.table.totals(built.table.dense)
    limits = [{key: budget.limit(dense[key]) for key, budget in one.items()} for one in parsed]
    pool = drawn(network, built, limits, names, POOL * count, seed)
    kept = informative(network, [options_of(built, one) for one in pool], count)
    return tuple(
        assembled(network, built, pool[n], number=number, seed=seed, rounding=rounding, profile=profile)
        for number, n in enumerate(kept)
    )


def check_design(count: int, budgets: Sequence[object]) -> None:
    """Raises PlanError for a design of no plans or at no budget."""
    if count < 1:
        raise PlanError(f"design of {count} plans; expected 1 or more")
    if not budgets or not all(budgets):
        raise PlanError("a design needs a budget to draw its plans at; give one, for example --budget macs=20%")


def styles(patterns: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Every pattern alone, then all of them mixed: alone they show what one is worth, mixed that losses add up."""
    names = [name for name in dict.fromkeys(patterns) if name != "dense"]
    alone = tuple((name,) for name in names)
    return (*alone, tuple(names)) if len(names) > 1 else alone


def drawn(
    network: Network,
    built: Built,
    limits: Sequence[Mapping[str, float]],
    patterns: Sequence[str],
    count: int,
    seed: int,
) -> list[Draw]:
    """`count` draws, limits and styles by turns. A pattern that cannot meet a limit leaves its turn to the mix."""
    turns = styles(patterns)
    unable: set[tuple[int, int]] = set()
    found = []
    for number in range(count):
        budget, turn = number % len(limits), number // len(limits) % len(turns)
        choice = None
        if (budget, turn) not in unable and len(turns[turn]) < len(turns[-1]):
            try:
                choice = draw(network, built, limits[budget], turns[turn], (seed, number))
            except BudgetError:
                unable.add((budget, turn))
        style = turns[turn] if choice is not None else turns[-1]
        if choice is None:
            choice = draw(network, built, limits[budget], style, (seed, number))
        found.append(Draw(choice=choice, patterns=style, limits=limits[budget]))
    return found


def draw(
    network: Network, built: Built, limits: Mapping[str, float], patterns: Sequence[str], key: tuple[int, ...]
) -> Choice:
    """A random legal choice that uses its budget up: the best one at random prices.

    The price of layer l by pattern p is MACs_l · exp(SPREAD z_l + PATTERN_SPREAD z_lp) · (−ln kept share), z standard
    normal: at equal prices per MAC the best choice has one density everywhere, so the draws scatter around `uniform`.
    Options of other patterns are forbidden by price. Being the best of something, every draw lies at its budget and
    obeys what couples layers.

    Raises:
        BudgetError: the patterns cannot meet the limits.
    """
    table = built.table
    rng = np.random.default_rng(np.random.SeedSequence(key))
    names = sorted({"dense", *patterns})
    macs = np.array([max(layer.macs, 1) for layer in network.sparsifiable], np.float64)
    prices = macs / macs.sum() * np.exp(SPREAD * rng.standard_normal(len(macs)))
    inner = np.exp(PATTERN_SPREAD * rng.standard_normal((len(macs), len(names))))
    loss = []
    for row, (layer, options) in enumerate(zip(network.sparsifiable, table.options, strict=True)):
        found = np.full(len(options), FORBIDDEN)
        for k, option in enumerate(options):
            if option.pattern in names:
                share = kept_share(layer, option)
                found[k] = prices[row] * inner[row, names.index(option.pattern)] * abs(math.log(share))
        loss.append(found)
    choice = solve(replace(table, loss=tuple(loss)), limits, gap=GAP, time_limit=TIME_LIMIT).choice
    if any(table.options[row][k].pattern not in names for row, k in enumerate(choice)):
        raise BudgetError(f"{', '.join(patterns)} alone cannot meet the budgets; loosen them or allow more patterns")
    return choice


def options_of(built: Built, one: Draw) -> dict[str, Option]:
    """Layer → option of a draw, dense ones left out."""
    table = built.table
    found = {name: options[k] for name, options, k in zip(table.layers, table.options, one.choice, strict=True)}
    return {name: option for name, option in found.items() if option.pattern != "dense"}


def informative(network: Network, plans: Sequence[Mapping[str, Option]], count: int) -> list[int]:
    """Indices of up to `count` plans, the one that adds most to what the former ones tell first.

    Greedy: each adds the largest ln(1 + zᵀ C z) to the log-determinant of the information, C the covariance of the
    curves' parameters that the former plans leave.
    """
    from advisor.planning.sensitivity.trained import families_of, prior_of, shares_of

    shares = shares_of(network, plans, families_of(network, plans))
    gradients = prior_of(network).gradients(shares)  # (N, θ), by parameters of unit spread
    gradients = gradients / (NOISE * max(float(np.linalg.norm(gradients, axis=1).mean()), 1e-300))
    left = gradients.copy()  # Σ over θ of squares of a row is zᵀ C z
    chosen: list[int] = []
    free = np.ones(len(plans), dtype=bool)
    covariance = np.eye(gradients.shape[1])
    for _ in range(min(count, len(plans))):
        gain = np.where(free, np.einsum("nt,nt->n", gradients, left), -1.0)
        best = int(np.argmax(gain))
        chosen.append(best)
        free[best] = False
        column = covariance @ gradients[best]
        covariance -= np.outer(column, column) / (1.0 + float(gradients[best] @ column))
        left = gradients @ covariance
    return chosen


def assembled(
    network: Network,
    built: Built,
    one: Draw,
    *,
    number: int,
    seed: int,
    rounding: str,
    profile: Profile | None = None,
    selection: str = "random",
) -> Plan:
    """The plan of a draw, its connections drawn from `seed` and `number`; its objective is that of "uniform"."""
    quality = Quality(
        objective=built.table.objective(one.choice), bound=math.nan, gap=math.nan, seconds=0.0, status="baseline"
    )
    style = Style(
        patterns=one.patterns,
        sensitivity="uniform",
        selection=selection,
        rounding=rounding,
        seed=int((1_000_003 * seed + number) % 2**31),
    )
    return assemble(network, built, one.choice, quality, style, limits=one.limits, profile=profile)
