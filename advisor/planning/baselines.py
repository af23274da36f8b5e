"""The plain alternatives at a plan's budgets: one density everywhere, ERK, one width factor."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from advisor.errors import PlanError, unknown
from advisor.examples import NOTHING_GIVEN, Given
from advisor.planning.alternatives import CannotMeet, Question, Trial, masked, width
from advisor.planning.assemble import Quality, Style, assemble
from advisor.planning.budgets import TIMES
from advisor.planning.constraints.asked import asked_of
from advisor.planning.selections import DATA_SELECTIONS, SELECTIONS
from advisor.planning.sensitivity import sensitivity_named

if TYPE_CHECKING:
    from advisor.devices.profile import Profile
    from advisor.network import Network
    from advisor.patterns.option import Option
    from advisor.plans.plan import Plan

BASELINES = ("uniform", "erk", "width")


class Baselines(dict[str, "Plan"]):
    """Baseline → its plan. `reasons` says of each one that is missing why it cannot meet the budgets."""

    reasons: dict[str, str]

    def __init__(self, plans: Mapping[str, Plan] | None = None, reasons: Mapping[str, str] | None = None) -> None:
        super().__init__(plans or {})
        self.reasons = dict(reasons or {})


def baselines(
    network: Network,
    plan: Plan,
    *,
    profile: Profile | None = None,
    kinds: Sequence[str] = BASELINES,
    seed: int | None = None,
    given: Given = NOTHING_GIVEN,
    pins: Mapping[str, str | float | Option] | None = None,
    allowed: Mapping[str, Sequence[str]] | None = None,
    forbidden: Mapping[str, Sequence[str]] | None = None,
    min_density: float | Mapping[str, float] | None = None,
    max_density: float | Mapping[str, float] | None = None,
) -> Baselines:
    """The largest plan of each kind that meets all of `plan`'s budgets (`plan.costs[key].budget`).

    "uniform" gives every layer that may be thinned out one density, "erk" densities in the shape of ERK, both with the
    pattern that the plan uses most; where a time is limited and no method of that pattern meets it, with "group" if
    that can. "width" narrows every group by one factor. The size is found by bisection over the real costs, the
    patterns' rounding included, so densities need not lie on the planner's grid. A kind that cannot meet a limited
    time, since no method of its pattern is fast enough, is taken at the plan's own MACs: its cost line then stands over
    its budget.

    Args:
        network: that the plan was made for.
        plan: gives budgets, pattern, rounding, sensitivity and which layers stay dense.
        profile: the one the plan was made with; without it, times are not asked of the baselines, but the plan's MACs.
        kinds: which baselines.
        seed: of the draws; the plan's own where None.
        given: data, where the plan's sensitivity or selection needs it. Without it no loss is estimated (the objective
            is that of "uniform", and a note says so), and connections are chosen by magnitude.
        pins, allowed, forbidden, min_density, max_density: what the plan was asked of single layers, as in
            `advisor.plan`, since a plan does not say. A layer whose density or pattern is not allowed takes the closest
            that is; width holds the groups beside such a layer at full width, and keeps its one factor elsewhere.

    Returns:
        Baseline → plan (status "baseline": no bound is proven), with `reasons` for those that cannot meet the budgets.

    Raises:
        PlanError: an unknown kind, a plan without budgets, one of another network, or constraints that name no layer.
    """
    asked = asked_of(pins=pins, allowed=allowed, forbidden=forbidden, min_density=min_density, max_density=max_density)
    asked.check_names([layer.name for layer in network.sparsifiable])
    for kind in kinds:
        if kind not in BASELINES:
            raise PlanError(unknown("baseline", str(kind), BASELINES))
    from advisor.devices.predicting.compose import plan_options

    plan_options(network, plan)  # refuses another network's plan
    limits = {key: line.budget for key, line in plan.costs.items() if line.budget is not None}
    if not limits:
        raise PlanError(f"plan for {plan.model!r} has no budgets, so there is nothing for a baseline to meet")
    untimed: tuple[str, ...] = ()
    if profile is None and any(key in TIMES for key in limits):
        limits = _at_its_arithmetic(limits, plan)
        untimed = (f"no profile: held to the plan's {limits['macs']:,.0f} MACs instead of a time",)
    question = Question(network=network, plan=plan, profile=profile, limits=limits, given=given, asked=asked)
    selection, chosen_notes = _selection(plan, given)
    judge, judge_notes = _judge(plan, given)
    found, reasons = Baselines(), {}
    for kind in dict.fromkeys(kinds):
        try:
            trial, style, notes = _largest(question, kind)
        except CannotMeet as reason:
            reasons[kind] = str(reason)
            continue
        built = question.table(trial.menu, judge)
        objective = built.table.objective(trial.choice)
        found[kind] = assemble(
            network,
            built,
            trial.choice,
            Quality(objective=objective, bound=math.nan, gap=math.nan, seconds=0.0, status="baseline"),
            Style(
                patterns=style,
                sensitivity=judge,
                selection=selection,
                rounding=plan.rounding,
                seed=plan.seed if seed is None else seed,
            ),
            limits=limits,
            profile=profile,
            notes=(*notes, *untimed, *chosen_notes, *judge_notes),
        )
    found.reasons = reasons
    return found


def _largest(question: Question, kind: str) -> tuple[Trial, tuple[str, ...], tuple[str, ...]]:
    """The largest trial within the limits; where only a time is in the way, at the plan's own arithmetic instead."""
    make = width if kind == "width" else partial(masked, kind=kind)
    try:
        return make(question)
    except CannotMeet as reason:
        if not any(key in TIMES for key in question.limits):
            raise
        limits = _at_its_arithmetic(question.limits, question.plan)
        trial, style, notes = make(replace(question, limits=limits))
        return trial, style, (*notes, f"{reason}: taken at the plan's {limits['macs']:,.0f} MACs instead")


def _judge(plan: Plan, given: Given) -> tuple[str, tuple[str, ...]]:
    """The sensitivity that estimates a baseline's loss, and what to say where it is not the plan's."""
    asked = sensitivity_named(plan.sensitivity)
    if asked.reads_runs and given.responses is None:
        return "uniform", (f"its loss is estimated by uniform: {plan.sensitivity} needs the runs that the plan had",)
    if not asked.reads_data or given.calibration is not None:
        return plan.sensitivity, ()
    return "uniform", (f"its loss is estimated by uniform: {plan.sensitivity} needs the data that the plan had",)


def _at_its_arithmetic(limits: Mapping[str, float], plan: Plan) -> dict[str, float]:
    """The limits without times, and the MACs that the plan itself takes."""
    rest = {key: limit for key, limit in limits.items() if key not in TIMES}
    return {**rest, "macs": min(plan.costs["macs"].plan, rest.get("macs", math.inf))}


def _selection(plan: Plan, given: Given) -> tuple[str, tuple[str, ...]]:
    """By what the plan's own connections were chosen, if that can be done here, and what to say where it cannot."""
    own = next((layer.selection for layer in plan.layers if layer.is_chosen), "random")
    if own not in SELECTIONS:
        return "random", ("connections are drawn: those of the plan were found while training",)
    if own in DATA_SELECTIONS and given.calibration is None:
        return "magnitude", (f"connections are chosen by magnitude: those by {own} need the data that the plan had",)
    return own, ()
