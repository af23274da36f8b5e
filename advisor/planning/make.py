"""The public `plan`: from a network, a profile and budgets to a Plan."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from advisor.devices.profile import check_profile
from advisor.errors import AdvisorError, BudgetError, PlanError, unknown
from advisor.network import check_network
from advisor.planning.assemble import Quality, Style, assemble
from advisor.planning.budgets import Budget, parse_budgets
from advisor.planning.build import build_table
from advisor.planning.options import DEFAULT_PATTERNS, checked_patterns, menu
from advisor.planning.sensitivity import SENSITIVITIES, checked_rates
from advisor.planning.solve import solve

if TYPE_CHECKING:
    from advisor.devices.profile import Profile
    from advisor.network import Network
    from advisor.plans.plan import Plan

SELECTIONS = ("random", "magnitude")


def plan(
    network: Network,
    *,
    budgets: Mapping[str, str | float | Budget] | Sequence[str],
    profile: Profile | None = None,
    patterns: Sequence[str] | None = None,
    sensitivity: str = "erk",
    selection: str = "random",
    rounding: str = "ceil",
    seed: int = 0,
    include_ends: bool = False,
    exchange: Mapping[str, float] | None = None,
    gap: float = 1e-3,
    time_limit: float = 60.0,
) -> Plan:
    """One option per layer: least estimated loss within all budgets, to a proven gap.

    Args:
        network: from `advisor.analyze`.
        budgets: cost → limit, {"latency": "50%", "params": "5M"}; see `planning.budgets`.
        profile: times of a device; needed for a budget on a time.
        patterns: what layers may become; channel, group and width where None.
        sensitivity: how the loss of an option is estimated: "erk", "uniform", or "magnitude" (needs real weights).
        selection: which connections stay: "random" (drawn from the seed) or "magnitude" (the largest real weights).
        rounding: how width rounds channel counts, "ceil" or "multiple8".
        seed: of every draw.
        include_ends: whether the first (image) convolution and the classifier may be thinned out, too.
        exchange: pattern → factor on its losses, from a validation (`load_exchange`).
        gap: relative gap at which the solver stops.
        time_limit: seconds for the solver; the best plan by then is returned with its gap and status "time limit".

    Raises:
        BudgetError: a budget that cannot be read, needs a profile, or cannot be met: the smallest reachable is named.
        PatternError, ProfileError, PlanError: an unknown pattern, a profile of other settings, an unknown option.
    """
    check_network(network)
    check_profile(profile)
    wanted = parse_budgets(budgets)
    names = checked_patterns(patterns if patterns is not None else DEFAULT_PATTERNS)
    if selection not in SELECTIONS:
        raise PlanError(unknown("selection", str(selection), SELECTIONS))
    _check_numbers(gap, time_limit, seed)
    choices = menu(network, names, rounding=rounding, include_ends=include_ends)
    built = build_table(
        network, choices, profile=profile, sensitivity=sensitivity, exchange=exchange, wanted=tuple(wanted)
    )
    dense = built.table.totals(built.table.dense)
    limits = {key: budget.limit(dense[key]) for key, budget in wanted.items()}
    hint = _hint(network, names, include_ends, tuple(wanted))
    found = solve(built.table, limits, gap=gap, time_limit=time_limit, hint=hint)
    return assemble(
        network,
        built,
        found.choice,
        Quality(
            objective=found.objective, bound=found.bound, gap=found.gap, seconds=found.seconds, status=found.status
        ),
        Style(patterns=names, sensitivity=sensitivity, selection=selection, rounding=rounding, seed=seed),
        limits=limits,
        profile=profile,
        notes=(*_exchange_note(exchange, names), *_selection_note(sensitivity, selection)),
    )


def _exchange_note(exchange: Mapping[str, float] | None, patterns: Sequence[str]) -> tuple[str, ...]:
    """How the losses of different patterns came to stand on one scale."""
    if not exchange:
        compared = [name for name in patterns if name != "dense"]
        if len(compared) < 2:
            return ()
        return (
            f"losses of {', '.join(compared)} stand on one scale by assumption, not by measurement: validate, then "
            "plan again with what it found (--exchange report.json)",
        )
    rates = ", ".join(f"{name} {rate:.4g}" for name, rate in sorted(exchange.items()))
    return (f"losses are scaled by measured exchange rates: {rates}",)


def _selection_note(sensitivity: str, selection: str) -> tuple[str, ...]:
    if SENSITIVITIES[sensitivity].needs != "weights" or selection == "magnitude":
        return ()
    return (
        f"losses ({sensitivity}) are those of the largest weights, but the connections are not chosen by them "
        "(selection random), so more is lost; choose them by magnitude, too",
    )


def _check_numbers(gap: float, time_limit: float, seed: int) -> None:
    if not (math.isfinite(gap) and gap >= 0):
        raise BudgetError(f"gap={gap}; expected 0 or more, for example 0.001")
    if not time_limit > 0:
        raise BudgetError(f"time_limit={time_limit}; expected more than 0 seconds")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise PlanError(f"seed={str(seed)[:40]}; expected a whole number from 0 to {2**63 - 1}")


def _hint(network: Network, patterns: Sequence[str], include_ends: bool, keys: Sequence[str]) -> str:
    """What else could bring a budget within reach."""
    timed = any(key in ("latency", "training_latency", "peak_memory", "energy") for key in keys)
    helpful = ("width", "group") if timed else ("width", "channel")
    missing = [name for name in helpful if name not in patterns]
    hints = [f"allow the pattern {missing[0]!r}"] if missing else []
    if not include_ends:
        from advisor.patterns.candidates import end_layers

        ends = [name for name in end_layers(network) if name]
        if ends:
            hints.append(f"include the ends ({', '.join(sorted(ends)[:2])})")
    return " or ".join(hints)


def load_exchange(path: str | Path) -> dict[str, float]:
    """Exchange rates between patterns from a validation's report.json: pattern → factor on its loss.

    Raises:
        PlanError: the file is not readable, holds no exchange rates, or one that is not positive.
    """
    from advisor.files import read_json

    document = read_json(path, error=PlanError)
    rates = document.get("exchange") if isinstance(document, Mapping) else None
    if not isinstance(rates, Mapping) or not rates:
        raise PlanError(
            f"{path}: holds no exchange rates; give the report.json of a validation with plans of several patterns"
        )
    try:
        return checked_rates(rates)
    except AdvisorError as error:
        raise PlanError(f"{path}: {error}") from None
