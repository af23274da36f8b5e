"""Plan, apply, measure, correct, and plan again until the measured cost meets the budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from advisor.errors import BudgetError
from advisor.planning.constraints.asked import asked_of
from advisor.planning.problem import Problem, pose
from advisor.planning.table import CostTable
from advisor.refining.correct import Correction, corrected, fit
from advisor.refining.gauges import Gauge, gauges_of
from advisor.refining.told import final_plan, round_text
from advisor.refining.trials import BAND, Bench, Tried

if TYPE_CHECKING:
    from advisor.network import Network
    from advisor.plans.plan import Plan

Report = Callable[[str], None]
_OF_LAYERS = ("pins", "allowed", "forbidden", "min_density", "max_density")
_PASSED = 10  # plans that were measured over a budget, passed over in one round
_BELOW = 1e-6  # relative: how far a limit goes below a plan that is passed over
_AIM = BAND / 2  # plans are made for so much less than the budget: the middle of the band


def refine(
    network: Network, *, rounds: int = 3, seconds: float = 20.0, report: Report | None = None, **asked: Any
) -> Plan:
    """The plan of `advisor.plan`, measured and made again until what the real network takes meets the budget.

    Each round applies the plan for inference and times it in turn with the dense network, so that the machine's pace
    cancels; the table is corrected by that (`correct.fit`), and the next plan made with it. It ends when the measured
    cost is at most the budget and no more than 3 % below it, confirmed by a second timing; when no other plan comes
    closer; or after `rounds`. Of the plans that were measured within the budget the one of least loss is kept. A share
    of dense refers to the dense network as it was timed in these rounds. Ctrl-C keeps the best plan so far.

    Latency and training latency are timed, under the profile's threads and batch size; the peak of memory is measured
    in a fresh process each time. All other budgets are counted exactly, and hold in every round.

    Args:
        network: from `advisor.analyze`, by a name that can be loaded where the peak of memory is limited.
        rounds: at most so many plans are measured.
        seconds: at most about so long each timing lasts; less where the medians are known to ± 1 % before.
        report: is told each round in one line.
        **asked: the arguments of `advisor.plan`.

    Raises:
        ProfileError: a time is limited, and the profile was not measured on such a machine as this one.
        BudgetError: as `advisor.plan`; no limited cost can be measured; rounds or seconds that are not positive.
        DeviceError: the profile's device is not here.
    """
    check_rounds(rounds, seconds)
    if isinstance(network, CostTable):
        raise BudgetError("a cost table has no network that could be measured; refine a plan of the network itself")
    if asked.pop("continuous", False):
        raise BudgetError(
            "plans off the grid are not refined, since the table that is corrected has the grid's options alone; leave "
            "out either continuous or refine"
        )
    constraints = asked_of(**{name: asked.pop(name, None) for name in _OF_LAYERS})
    problem = pose(network, constraints=constraints, **asked)
    return refined(problem, rounds=rounds, seconds=seconds, report=report)


def check_rounds(rounds: int, seconds: float) -> None:
    """Raises BudgetError for what is no number of rounds or no time."""
    if isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 1:
        raise BudgetError(f"rounds={str(rounds)[:40]}; expected a whole number of 1 or more")
    if not (math.isfinite(seconds) and seconds > 0):
        raise BudgetError(f"seconds={seconds}; expected more than 0, for each timing")


def refined(
    problem: Problem,
    *,
    rounds: int,
    seconds: float,
    report: Report | None = None,
    gauges: Mapping[str, Gauge] | None = None,
) -> Plan:
    """As `refine`, for a problem that was posed, by other gauges where some are given."""
    bench = Bench(problem=problem, gauges=gauges_of(problem) if gauges is None else gauges)
    stopped = ""
    try:
        for number in range(1, rounds + 1):
            stopped = _turn(bench, number, seconds, report)
            if stopped or bench.is_met:
                break
    except KeyboardInterrupt:
        if not bench.tried:
            raise
        stopped = f"interrupted in round {number}"
    return final_plan(bench, stopped)


def _turn(bench: Bench, number: int, seconds: float, report: Report | None) -> str:
    """One round; returns why there can be no further one, "" where there can."""
    corrections = _corrections(bench)
    problem = bench.problem
    for key, correction in corrections.items():
        problem = replace(problem, built=corrected(problem.built, key, correction))
    tried, reason = _next(problem, bench)
    if tried is None:
        return reason
    choice = tried.solution.choice
    predicted = {key: problem.built.table.total(key, choice) / bench.scale(key) for key in bench.gauges}
    bench.measure(tried, seconds)
    if bench.meets(tried) and tried.timings == 1:
        bench.measure(tried, seconds)  # what looks right by chance would be taken for right otherwise
    for line in bench.record(tried, number, predicted, corrections):
        if report is not None:
            report(round_text(line))
    return ""


def _corrections(bench: Bench) -> dict[str, Correction]:
    """Cost → what all measurements so far say of the uncorrected table."""
    if not bench.tried:
        return {}
    return {
        key: fit(bench.problem.built, key, bench.evidence(key), limit=(1 - _AIM) * bench.limit(key) * bench.scale(key))
        for key in bench.gauges
    }


def _next(problem: Problem, bench: Bench) -> tuple[Tried | None, str]:
    """The plan to measure next by the corrected table, or why there is none.

    The best one a little below the budgets; where that was measured already, the best one at the budgets. A plan that
    was measured over a budget, though the table has it within, is measured again once if that may have been noise;
    otherwise the limits go below what the table says of it, so that it does not come back.

    Raises:
        BudgetError: no plan is within the budgets, and none was measured yet.
    """
    exact = dict(problem.limits) | {key: bench.limit(key) * bench.scale(key) for key in bench.gauges}
    aimed = {key: limit * (1 - _AIM) if key in bench.gauges else limit for key, limit in exact.items()}
    reason, tried = "no other plan of the table comes closer", bool(bench.tried)
    for limits in (aimed, dict(exact)):
        for _ in range(_PASSED):
            try:
                found = problem.solution(limits)
            except BudgetError as error:
                if not tried and limits is not aimed:
                    raise
                reason = f"by the corrected table no plan is within the budget ({error})"
                break
            known = bench.find(found.choice)
            if known is None:
                return Tried(solution=found, plan=problem.written(found, exact)), ""
            if bench.fits(known):
                break
            if known.timings == 1 and bench.may_fit(known):
                return known, ""
            for key in bench.gauges:
                if bench.over(known, key) > 0:
                    below = problem.built.table.total(key, found.choice) * (1 - _BELOW)
                    limits[key] = min(limits[key], below)
    return None, reason
