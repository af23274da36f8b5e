"""Plans by sensitivities beside uniform, ERK and width at equal measured latency, trained on the same seeds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

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
from validation.exchange import way_of
from validation.progress import Monitor
from validation.receipts import time_all
from validation.statistics import differences
from validation.trials import open_folder, run_trial, total_steps

BATCH = 16
SHARE = 0.5  # of the dense network's latency
CLOSE = 0.03  # two latencies that differ by no more are called equal
ROUNDS = 5
PROFILE_SECONDS, TIMING_SECONDS = 90.0, 15.0
SENSITIVITIES = ("erk", "trained")
BASELINES = ("uniform", "erk", "width")

Way = Callable[[float], Plan]  # limit on the latency in ms → the plan


def compared(group: Trained, minutes: float, seeds: int, *, share: float = SHARE) -> str:
    """Makes, times and trains the plans, as far as the minutes reach; the table of what has finished."""
    until = time.monotonic() + 60 * minutes
    folder = group.study.out / f"latency-{round(100 * share)}"
    (folder / "plans").mkdir(parents=True, exist_ok=True)
    if not (folder / "timed.json").is_file():
        _make(group, folder, share)
    timed: Mapping[str, float] = read_json(folder / "timed.json")
    plans = {label: load_plan(folder / "plans" / f"{label}.json") for label in timed}
    study = replace(
        group.study,
        contestants=(
            Contestant(label="dense", plan=None),
            *(Contestant(label=label, plan=replace(plan, network=group.network)) for label, plan in plans.items()),
        ),
        seeds=tuple(range(100, 100 + seeds)),  # seeds that no curve was fitted to
        out=folder,
    )
    open_folder(study)
    monitor = Monitor(folder, total_steps(study), shown=False)
    reached: dict[str, dict[int, float]] = {one.label: {} for one in study.contestants}
    losses: dict[str, dict[int, float]] = {one.label: {} for one in study.contestants}
    for seed in study.seeds:
        for one in study.contestants:
            done = (folder / "runs" / f"{one.label}-{seed}.json").is_file()
            if not done and time.monotonic() > until:
                continue
            found = run_trial(study, one, seed, counts_of(group, one), monitor)
            if found["accuracy"] is not None:
                reached[one.label][seed], losses[one.label][seed] = found["accuracy"], found["loss"]
    return _table(group, plans, timed, reached, losses, share)


def _table(
    group: Trained,
    plans: Mapping[str, Plan],
    timed: Mapping[str, float],
    reached: Mapping[str, Mapping[int, float]],
    losses: Mapping[str, Mapping[int, float]],
    share: float,
) -> str:
    complete = sorted(set.intersection(*(set(runs) for runs in reached.values())))
    if not complete:
        return f"{group.name}: no seed has finished for every plan"
    accuracy = {label: {seed: runs[seed] for seed in complete} for label, runs in reached.items()}
    loss = {label: {seed: runs[seed] for seed in complete} for label, runs in losses.items()}
    reference = "plan-trained" if "plan-trained" in plans else next(iter(plans))
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


def _make(group: Trained, folder: Path, share: float) -> None:
    """Plans whose measured latencies are the same share of the dense network's, and `timed.json` beside them."""
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
    ways = _ways(network, profile, known_responses(group, group.study.seeds), group.case.selection)
    dense_ms = _predicted_dense(network, profile)
    limits = dict.fromkeys(ways, share * dense_ms)
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
        ratios = _timed(network, made, profile)
        for name, ratio in ratios.items():
            if name not in best or abs(ratio / share - 1) < abs(best[name][0] / share - 1):
                best[name] = (ratio, made[name])
            limits[name] *= share / ratio
    ratios = _timed(network, {name: plan for name, (_, plan) in best.items()}, profile)
    for name, (_, plan) in best.items():
        plan.save(folder / "plans" / f"{name}.json")
    write_json(folder / "timed.json", ratios)


def _ways(network: Network, profile: Profile, responses: Responses, selection: str) -> dict[str, Way]:
    def planned(sensitivity: str) -> Way:
        def make(limit: float) -> Plan:
            return advisor.plan(
                network,
                budgets={"latency": f"{limit}ms"},
                profile=profile,
                patterns=PATTERNS,
                sensitivity=sensitivity,
                selection=selection,
                responses=responses if sensitivity == "trained" else None,
            )

        return make

    def plain(kind: str) -> Way:
        def make(limit: float) -> Plan:
            found = baselines(network, planned("erk")(limit), profile=profile, kinds=(kind,))
            if kind not in found:
                raise AdvisorError(found.reasons[kind])
            return found[kind]

        return make

    return {f"plan-{name}": planned(name) for name in SENSITIVITIES} | {name: plain(name) for name in BASELINES}


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
