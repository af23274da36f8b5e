"""What a plan is the answer to: a table, limits on its costs, and how the answer is to be written down."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.devices.profile import check_profile
from advisor.errors import BudgetError, PlanError
from advisor.network import check_network
from advisor.planning.assemble import Quality, Style, assemble
from advisor.planning.budgets import Budget, parse_budgets
from advisor.planning.build import Built, build_table
from advisor.planning.constraints.asked import Asked
from advisor.planning.constraints.offered import with_pinned
from advisor.planning.constraints.restrict import restrict, solve_restricted
from advisor.planning.explaining.basis import basis_of
from advisor.planning.menu.attention import attention_menu
from advisor.planning.menu.options import DEFAULT_PATTERNS, checked_patterns, menu
from advisor.planning.selections import check_selection
from advisor.planning.sensitivity import Given, sensitivity_named
from advisor.planning.sensitivity.defaults import default_sensitivity
from advisor.planning.sensitivity.trained import learnt_from
from advisor.planning.solving.solve import Solution, check_max_patterns, solve
from advisor.planning.table import Choice

if TYPE_CHECKING:
    from advisor.devices.profile import Profile
    from advisor.network import Network
    from advisor.planning.sensitivity.trained_data import Responses
    from advisor.plans.plan import Plan


@dataclass(frozen=True, kw_only=True)
class Problem:
    """All that `advisor.plan` was asked, with the table that answers it.

    Attributes:
        budgets: as they were given, by cost; `limits` has them in the costs' units.
        hint: what else the user could do about a budget that cannot be met.
        notes: what the plan has to say of the question itself.
        constraints: what is asked of single layers; the table has all their options.
        max_patterns: at most so many different patterns beside dense; any number where None.
        exchange: the rates that the losses in the table were scaled by.
    """

    network: Network
    built: Built
    budgets: Mapping[str, Budget]
    style: Style
    profile: Profile | None = None
    gap: float = 1e-3
    time_limit: float = 60.0
    hint: str = ""
    notes: tuple[str, ...] = ()
    constraints: Asked = field(default_factory=Asked)
    max_patterns: int | None = None
    exchange: Mapping[str, float] | None = None

    @property
    def limits(self) -> dict[str, float]:
        """Cost → upper limit of the whole network, in the cost's unit."""
        dense = self.built.table.totals(self.built.table.dense)
        return {key: budget.limit(dense[key]) for key, budget in self.budgets.items()}

    def solution(self, limits: Mapping[str, float] | None = None, *, known: Choice | None = None) -> Solution:
        """The best choice within `limits`; within the budgets where None. `known` is a choice to start from.

        Raises:
            BudgetError: as `solve`.
        """
        within = self.limits if limits is None else limits
        if self.constraints.rules:
            left = restrict(self.built.table, self.constraints)
            return solve_restricted(
                left,
                within,
                gap=self.gap,
                time_limit=self.time_limit,
                hint=self.hint,
                max_patterns=self.max_patterns,
                known=known,
            )
        return solve(
            self.built.table,
            within,
            gap=self.gap,
            time_limit=self.time_limit,
            hint=self.hint,
            max_patterns=self.max_patterns,
            known=known,
        )

    def written(self, found: Solution, limits: Mapping[str, float] | None = None) -> Plan:
        """The plan of one solution: connections drawn, every cost beside its dense value and its limit."""
        within = self.limits if limits is None else limits
        plan = assemble(
            self.network,
            self.built,
            found.choice,
            Quality(
                objective=found.objective,
                bound=found.bound,
                gap=found.gap,
                seconds=found.seconds,
                status=found.status,
                prices=found.prices,
            ),
            self.style,
            limits=within,
            profile=self.profile,
            notes=self.notes,
        )
        return replace(plan, basis=partial(basis_of, self, found, within))


def decide(problem: Problem, *, continuous: bool = False) -> Plan:
    """The plan that answers the problem; `continuous`: with densities between those of the grid."""
    if continuous:
        from advisor.planning.continuous.plans import off_grid

        return off_grid(problem)
    return problem.written(problem.solution())


def pose(
    network: Network,
    *,
    budgets: Mapping[str, str | float | Budget] | Sequence[str],
    profile: Profile | None = None,
    patterns: Sequence[str] | None = None,
    sensitivity: str | None = None,
    selection: str = "random",
    rounding: str = "ceil",
    seed: int = 0,
    include_ends: bool = False,
    exchange: Mapping[str, float] | None = None,
    gap: float = 1e-3,
    time_limit: float = 60.0,
    constraints: Asked | None = None,
    max_patterns: int | None = None,
    data: Any = None,
    responses: str | Path | Responses | None = None,
) -> Problem:
    """The arguments of `advisor.plan` as a problem, its table built; raises what that raises before it solves."""
    check_network(network)
    check_profile(profile)
    wanted = parse_budgets(budgets)
    names = checked_patterns(patterns if patterns is not None else DEFAULT_PATTERNS)
    _check_numbers(gap, time_limit, seed)
    check_max_patterns(max_patterns)
    given = given_by(data, seed, responses)
    estimator = sensitivity or default_sensitivity(has_runs=given.responses is not None)
    check_selection(selection, given)
    asked = constraints or Asked()
    attention = attention_menu(network, names, asked, timed=_is_timed(profile, tuple(wanted)))
    asked.check_names([*(layer.name for layer in network.sparsifiable), *attention.options])
    choices = menu(network, names, rounding=rounding, include_ends=include_ends)
    choices = replace(with_pinned(choices, network, asked, names), attention=attention)
    built = build_table(
        network,
        choices,
        profile=profile,
        sensitivity=estimator,
        exchange=exchange,
        wanted=tuple(wanted),
        given=given,
    )
    left = restrict(built.table, asked) if asked.rules else None
    return Problem(
        network=network,
        built=built,
        budgets=wanted,
        style=Style(patterns=names, sensitivity=estimator, selection=selection, rounding=rounding, seed=seed),
        profile=profile,
        gap=gap,
        time_limit=time_limit,
        hint=_hint(network, names, include_ends, tuple(wanted)),
        notes=(
            *(learnt_from(network, given).notes() if estimator == "trained" else ()),
            *(_exchange_note(exchange, names) if exchange or estimator != "trained" else ()),
            *_selection_note(estimator, selection),
            *attention.notes,
            *(left.notes if left else ()),
        ),
        constraints=asked,
        max_patterns=max_patterns,
        exchange=exchange,
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


def given_by(data: Any, seed: int, responses: str | Path | Responses | None = None) -> Given:
    """What estimates may look at: `data` as labelled batches, read once, and `responses` of earlier runs."""
    from advisor.planning.sensitivity.trained_data import load_responses

    known = load_responses(responses) if isinstance(responses, str | Path) else responses
    if data is None:
        return Given(seed=seed, responses=known)
    from advisor.examples.batches import calibration

    return Given(calibration=calibration(data, seed=seed), responses=known, seed=seed)


def _selection_note(sensitivity: str, selection: str) -> tuple[str, ...]:
    chosen = sensitivity_named(sensitivity)
    if not (chosen.chooses and chosen.trained) or selection != "random":
        return ()
    return (
        f"losses ({sensitivity}) are those of the best connections, but the connections are drawn (selection random), "
        "so more is lost; choose them, too: selection magnitude, taylor or fisher",
    )


def _is_timed(profile: Profile | None, wanted: tuple[str, ...]) -> bool:
    """Whether the costs will hold a time."""
    asked = any(key in ("latency", "training_latency") for key in wanted)
    return profile is not None and (asked or profile.settings is not None)


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
