"""Rounds of short training: each teaches the sensitivity "trained", by which the next plan is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from advisor.errors import BudgetError, PlanError
from advisor.planning.make import plan as make
from advisor.planning.sensitivity.trained_data import Responses, load_responses
from advisor.plans.rounds import Round
from advisor.refining.told import round_text

if TYPE_CHECKING:
    from advisor.network import Network
    from advisor.patterns.option import Option
    from advisor.plans.plan import Plan

# Trains a plan shortly, in a round of that number, and returns the responses file that then knows of it.
Train = Callable[["Plan", int], Path]
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """What rounds of training ended with; `responses` is the file with all that was learnt."""

    plan: Plan
    responses: Path


def learn(network: Network, *, rounds: int, train: Train, report: Report | None = None, **asked: Any) -> Learnt:
    """Plans, trains, learns and plans again; the plan of least measured loss is kept.

    The first plan is made by the sensitivity that was asked for, each later one by "trained" from all runs so far. It
    ends after `rounds`, or when the next plan is one that was trained already. Ctrl-C keeps the best plan so far.

    Args:
        network: from `advisor.analyze`.
        rounds: at most so many plans are trained.
        train: as `Train`. More plans than the one it is given (baselines) teach more.
        report: is told each round in one line.
        **asked: the arguments of `advisor.plan`.

    Raises:
        BudgetError, PlanError: as `advisor.plan`; rounds that are no positive number; responses that lack the plan.
    """
    if isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 1:
        raise BudgetError(f"rounds={str(rounds)[:40]}; expected a whole number of 1 or more")
    tried: list[tuple[Plan, Round]] = []
    responses: Path | None = None
    stopped = ""
    try:
        for number in range(1, rounds + 1):
            given = asked if responses is None else asked | {"sensitivity": "trained", "responses": responses}
            made = make(network, **given)
            if any(_options(made) == _options(plan) for plan, _ in tried):
                stopped = "the next plan is one that was trained already"
                break
            responses = train(made, number)
            line = _round(made, load_responses(responses), number)
            tried.append((made, line))
            if report is not None:
                report(round_text(line))
    except KeyboardInterrupt:
        if not tried:
            raise
        stopped = f"interrupted in round {number}"
    if responses is None:  # the first round either trains or raises
        raise PlanError("no round of training was finished")
    best, _ = min(tried, key=lambda item: item[1].measured)
    return Learnt(plan=_told(best, tried, stopped), responses=responses)


def _options(plan: Plan) -> dict[str, Option]:
    """What tells plans apart for their runs: the layers that are not dense."""
    return {layer.name: layer.option for layer in plan.layers if layer.pattern != "dense"}


def _round(plan: Plan, known: Responses, number: int) -> Round:
    """The rise of the loss over the dense network's by runs of the same settings and seeds."""
    runs = _losses(known, _options(plan))
    dense = _losses(known, {})
    shared = sorted(set(runs) & set(dense))
    if not shared:
        raise PlanError(
            f"round {number}: no run of this plan and of the dense network under the same settings was finished; look "
            "at what the training said"
        )
    rises = [runs[key] - dense[key] for key in shared]
    return Round(
        number=number,
        cost="loss",
        predicted=plan.objective,
        measured=fmean(rises),
        low=min(rises),
        high=max(rises),
        dense=fmean(dense[key] for key in shared),
        within=True,
    )


def _losses(known: Responses, options: Mapping[str, Option]) -> dict[tuple[str, int], float]:
    """(settings, seed) → loss of the runs of one plan."""
    keys = {key for key, layers in known.plans.items() if dict(layers) == dict(options)}
    return {(run.settings, run.seed): run.loss for run in known.runs if run.plan in keys}


def _told(best: Plan, tried: list[tuple[Plan, Round]], stopped: str) -> Plan:
    lines = tuple(replace(line, kept=plan is best) for plan, line in tried)
    notes = [
        f"of {len(tried)} plans that were trained, the one of least measured loss is kept (losses are those of "
        "short runs, their differences in part noise)"
    ]
    if stopped:
        notes.append(f"rounds of training ended early: {stopped}")
    return replace(best, rounds=(*best.rounds, *lines), notes=(*notes, *best.notes))
