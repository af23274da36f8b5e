"""Plans by sensitivities beside uniform, ERK and width at equal measured latency, trained on the same seeds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tabulate import tabulate

import advisor
from advisor.devices.measuring.subject import with_batch
from advisor.devices.profile import Profile
from advisor.errors import AdvisorError
from advisor.files import read_json, write_json
from advisor.network import Network
from advisor.planning.baselines import baselines
from advisor.planning.sensitivity.trained_data import Responses
from advisor.plans.plan import Plan, load_plan
from benchmarks.judging.predict import known_responses
from benchmarks.judging.runs import PATTERNS, Trained, counts_of
from validation.contestants import Contestant
from validation.learning.responses import responses_of
from validation.reporting.exchange import way_of
from validation.reporting.receipts import time_all
from validation.reporting.statistics import differences
from validation.running.folder import open_folder
from validation.running.matrix import total_steps
from validation.running.progress import Monitor
from validation.running.results import result_file, run_name
from validation.running.trials import Study, run_trial

BATCH = 16
SHARE = 0.5  # of the dense network's latency
CLOSE = 0.03  # two latencies that differ by no more are called equal
ROUNDS = 5
PROFILE_SECONDS, TIMING_SECONDS = 90.0, 15.0
SENSITIVITIES = ("erk", "trained")
BASELINES = ("uniform", "erk", "width")

Way = Callable[[float], Plan]  # limit on the latency in ms → the plan


def compared(group: Trained, minutes: float, seeds: int, *, share: float = SHARE, rounds: int = 1) -> str:
    """Makes, times and trains the plans, as far as the minutes reach; the table of what has finished.

    Args:
        rounds: of "trained": each further one learns from all runs of the rounds before, as validations teach it.
    """
    until = time.monotonic() + 60 * minutes
    folder = group.study.out / f"latency-{round(100 * share)}"
    (folder / "plans").mkdir(parents=True, exist_ok=True)
    known = known_responses(group, group.study.seeds)
    place = folder / "timed.json"
    if not place.is_file():
        write_json(place, _make(group, folder, share, partial(_ways, responses=known, selection=group.case.selection)))
    timed, study, results = _round(group, folder, seeds, until)
    for number in range(2, rounds + 1):
        if len(results) < seeds * len(study.contestants):
            break
        label = f"plan-trained-{number}"
        if label not in timed:
            learnt = known.joined(responses_of(group.network, study, results))
            write_json(place, timed | _make(group, folder, share, partial(_again, label=label, responses=learnt)))
        timed, study, results = _round(group, folder, seeds, until)
    return _table(group, timed, study, results, share)


def _round(
    group: Trained, folder: Path, seeds: int, until: float
) -> tuple[dict[str, float], Study, list[dict[str, Any]]]:
    """Trains the plans that were timed: their latencies, the study, and the results there are when the time is over."""
    timed: dict[str, float] = read_json(folder / "timed.json")
    study = _study(group, {label: load_plan(folder / "plans" / f"{label}.json") for label in timed}, folder, seeds)
    return timed, study, _trained(group, study, until)


def _study(group: Trained, plans: Mapping[str, Plan], folder: Path, seeds: int) -> Study:
    thinned = (Contestant(label=label, plan=replace(plan, network=group.network)) for label, plan in plans.items())
    first = 100  # seeds that no curve was fitted to
    return replace(
        group.study,
        contestants=(Contestant(label="dense", plan=None), *thinned),
        seeds=tuple(range(first, first + seeds)),
        out=folder,
    )


def _trained(group: Trained, study: Study, until: float) -> list[dict[str, Any]]:
    """The results there are when the time is over."""
    open_folder(study)
    monitor = Monitor(study.out, total_steps(study), shown=False)
    return [
        run_trial(study, one, seed, counts_of(group, one), monitor)
        for seed in study.seeds
        for one in study.contestants
        if result_file(study, run_name(one.label, seed)).is_file() or time.monotonic() < until
    ]


def _table(
    group: Trained,
    timed: Mapping[str, float],
    study: Study,
    results: Sequence[Mapping[str, Any]],
    share: float,
) -> str:
    plans = {one.label: one.plan for one in study.contestants if one.plan is not None}
    runs = {label: {r["seed"]: r for r in results if r["plan"] == label} for label in ("dense", *plans)}
    complete = sorted(set.intersection(*({s for s, r in one.items() if not r["problem"]} for one in runs.values())))
    if not complete:
        return f"{group.name}: no seed has finished for every plan"
    accuracy = {label: {seed: one[seed]["accuracy"] for seed in complete} for label, one in runs.items()}
    loss = {label: {seed: one[seed]["loss"] for seed in complete} for label, one in runs.items()}
    reference = next(iter(plans))
    against = differences({label: accuracy[label] for label in plans}, reference)
    rows = [["dense", "", "1.000", *_means(accuracy["dense"], loss["dense"]), ""]]
    for label, plan in plans.items():
        found = against.get(label)
        interval = ""
        if found is not None and found.low is not None and found.high is not None:
            interval = f"{found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f})"
        rows.append([label, way_of(plan), f"{timed[label]:.3f}", *_means(accuracy[label], loss[label]), interval])
    head = (
        f"{group.name} at {share:.0%} of the dense latency (batch {BATCH}, measured in turn), {len(complete)} seeds; "
        f"differences of accuracy to {reference}, paired over seeds, with 95 % intervals"
    )
    columns = ["plan", "what it does", "latency / dense", "accuracy", "loss", "difference"]
    return head + "\n" + tabulate(rows, headers=columns, tablefmt="github", disable_numparse=True)


def _means(accuracy: Mapping[int, float], loss: Mapping[int, float]) -> list[str]:
    return [f"{sum(runs.values()) / len(runs):.3f}" for runs in (accuracy, loss)]


def _make(
    group: Trained, folder: Path, share: float, ways_of: Callable[[Network, Profile], dict[str, Way]]
) -> dict[str, float]:
    """Saves plans whose measured latencies are the same share of the dense network's; returns those shares."""
    network = with_batch(group.network, BATCH)
    place = folder / "profile.json"
    if not place.is_file():
        advisor.measure(
            network,
            device="cpu",
            threads=1,
            batch=BATCH,
            budget_seconds=PROFILE_SECONDS,
            patterns=PATTERNS,
            out=place,
            progress=False,
        )
    profile = advisor.load_profile(place)
    ways = ways_of(network, profile)
    limits = dict.fromkeys(ways, share * _predicted_dense(network, profile))
    best: dict[str, tuple[float, Plan]] = {}
    for _ in range(ROUNDS):
        todo = [name for name in ways if name not in best or abs(best[name][0] / share - 1) > CLOSE]
        if not todo:
            break
        made: dict[str, Plan] = {}
        for name in todo:
            try:
                made[name] = ways[name](limits[name])
            except AdvisorError as error:
                print(f"{group.name}, {name}: {error}", flush=True)
                limits[name] *= 1.05
        for name, ratio in _timed(network, made, profile).items():
            if name not in best or abs(ratio / share - 1) < abs(best[name][0] / share - 1):
                best[name] = (ratio, made[name])
            limits[name] *= share / ratio
    for name, (_, plan) in best.items():
        plan.save(folder / "plans" / f"{name}.json")
    return _timed(network, {name: plan for name, (_, plan) in best.items()}, profile)


def _ways(network: Network, profile: Profile, *, responses: Responses, selection: str) -> dict[str, Way]:
    loose = _planned(network, profile, "erk", None, selection)(2 * _predicted_dense(network, profile))

    def plain(kind: str) -> Way:
        def make(limit: float) -> Plan:
            line = replace(loose.costs["latency"], budget=limit)
            budgeted = replace(loose, costs={**loose.costs, "latency": line}, patterns=PATTERNS)
            found = baselines(network, budgeted, profile=profile, kinds=(kind,))
            if kind not in found:
                raise AdvisorError(found.reasons[kind])
            return found[kind]

        return make

    planned = {
        f"plan-{name}": _planned(network, profile, name, responses if name == "trained" else None, selection)
        for name in SENSITIVITIES
    }
    return planned | {name: plain(name) for name in BASELINES}


def _again(network: Network, profile: Profile, *, label: str, responses: Responses) -> dict[str, Way]:
    return {label: _planned(network, profile, "trained", responses)}


def _planned(
    network: Network, profile: Profile, sensitivity: str, responses: Responses | None, selection: str = "random"
) -> Way:
    def make(limit: float) -> Plan:
        return advisor.plan(
            network,
            budgets={"latency": f"{limit}ms"},
            profile=profile,
            patterns=PATTERNS,
            sensitivity=sensitivity,
            selection=selection,
            responses=responses,
        )

    return make


def _predicted_dense(network: Network, profile: Profile) -> float:
    from advisor.devices.predicting.verify import predict_latency

    return predict_latency(network, profile, None).latency_ms


def _timed(network: Network, plans: Mapping[str, Plan], profile: Profile) -> dict[str, float]:
    """Plan → its latency as a share of dense, all timed in turn."""
    contestants = (
        Contestant(label="dense", plan=None),
        *(Contestant(label=name, plan=plan) for name, plan in plans.items()),
    )
    found = time_all(network, contestants, profile=profile, threads=1, seconds=TIMING_SECONDS)
    return {name: found.by_plan[name].ratio for name in plans}
