"""Does a layer that is narrowed and sparse at once beat one that is only one of the two?

    python benchmarks/combined.py --out runs/combined
    python benchmarks/combined.py --out runs/combined --minutes 0       # the table of what is there

The demo's network (four 3x3 convolutions) learns cluttered digits from scratch under plans of equal MACs. First it is
learnt what connections and channels are worth: plans of one pattern, as the planner makes them by default, are trained
on seeds of their own, and response curves are fitted to all of them (sensitivity "trained"). By these losses the
planner then makes the plans that compete: *channel* and *width* with that pattern alone, and *both* where every layer
may be narrowed, sparse, or narrowed and sparse (pattern "width+channel"). Beside them stand the plain baselines *erk*
(densities in the shape of ERK) and *one factor* (one width factor everywhere).

Printed are mean test accuracies with a 95 % interval over the seeds, and the paired difference of *both* to the best of
the others, chosen by the same runs, which favours them. Everything that was trained lies in --out; the same command
goes on where --minutes stopped it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tabulate import tabulate

import advisor
from advisor.errors import AdvisorError, BudgetError
from advisor.files import read_json
from advisor.models import load_model
from advisor.network import Network
from advisor.planning.baselines import baselines
from advisor.planning.sensitivity.trained_data import Responses
from advisor.plans.plan import Plan, load_plan
from validation.contestants import Contestant, builder
from validation.data import Request, load_data
from validation.learning.responses import responses_of
from validation.reporting.statistics import mean_interval, paired
from validation.running.folder import open_folder
from validation.running.matrix import total_steps
from validation.running.progress import Monitor
from validation.running.results import result_file, run_name
from validation.running.trials import Study, run_trial
from validation.training.recipe import Recipe

MODEL = "zoo:digits_cnn"
PATTERNS = {"channel": "channel", "width": "width", "both": "width+channel"}
PLAIN = {"erk": "erk", "one factor": "width"}  # name here → baseline
PURE = ("channel", "width", *PLAIN)
FIRST_LEARNING_SEED = 100  # of the runs that the losses are learnt from
Accuracies = dict[str, dict[int, float]]  # label → seed → accuracy


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is trained, and for how long."""

    out: Path
    budgets: tuple[str, ...]
    seeds: int
    side: int
    train_size: int
    epochs: int
    learning: tuple[int, ...]  # seeds


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--minutes", type=float, default=60.0, help="stop after so many; 0 only prints")
    parser.add_argument("--budgets", default="25%,12%,6%", help="shares of the dense MACs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--learning-seeds", type=int, default=2)
    parser.add_argument("--side", type=int, default=28, help="pixels of an image's side")
    parser.add_argument("--train-size", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=3)
    given = parser.parse_args(arguments)
    setting = Setting(
        out=given.out,
        budgets=tuple(given.budgets.split(",")),
        seeds=given.seeds,
        side=given.side,
        train_size=given.train_size,
        epochs=given.epochs,
        learning=tuple(range(FIRST_LEARNING_SEED, FIRST_LEARNING_SEED + given.learning_seeds)),
    )
    try:
        run(setting, time.monotonic() + 60 * given.minutes)
    except AdvisorError as error:
        sys.exit(str(error))


def run(setting: Setting, until: float) -> None:
    """Trains until then what has no result yet, and prints what there is."""
    loaded = load_model(MODEL, device="cpu", input_text=f"1x1x{setting.side}x{setting.side}")
    network = advisor.analyze(loaded.module, loaded.example_inputs, name=MODEL)
    tried = {f"{b} {name}": plan for b in setting.budgets for name, plan in first(network, b).items()}
    study = study_of(setting, network, tried)
    complete = train(study, network, ["dense", *tried], setting.learning, until)
    plans: dict[str, Plan] = {}
    if complete:
        known = [
            found for one in study.contestants for seed in setting.learning if (found := read(study, one.label, seed))
        ]
        plans = competing(setting, network, tried, responses_of(network, study, known))
        study = study_of(setting, network, tried | plans)
        for seed in range(setting.seeds):  # seed by seed, so that an early stop leaves comparable plans
            complete = train(study, network, [*plans, "dense"], (seed,), until) and complete
    print(table(setting, network, plans, accuracies(study, range(setting.seeds))))
    if not complete:
        print("\nnot everything is trained yet: run the same command again to go on")


def first(network: Network, budget: str) -> dict[str, Plan]:
    """Plans of one pattern within a budget, as far as they can meet it, before anything is known of the task."""
    found: dict[str, Plan] = {}
    for name in ("channel", "width"):
        try:
            found[name] = advisor.plan(network, budgets={"macs": budget}, patterns=[name])
        except BudgetError as error:
            print(f"{name} at {budget}: {error}", file=sys.stderr)
    some = next(iter(found.values()), None)
    plain = baselines(network, some, kinds=tuple(PLAIN.values())) if some is not None else {}
    return found | {name: plain[kind] for name, kind in PLAIN.items() if kind in plain}


def competing(setting: Setting, network: Network, tried: Mapping[str, Plan], responses: Responses) -> dict[str, Plan]:
    """Label → plan by what was learnt, and the baselines."""
    found: dict[str, Plan] = {}
    for budget in setting.budgets:
        for name, pattern in PATTERNS.items():
            if f"{budget} {name}" in tried or name == "both":
                label = f"{budget} {name}, learnt"
                path = setting.out / "plans" / f"{label}.json"
                if not path.is_file():  # made once, so that later calls go on with the same
                    path.parent.mkdir(parents=True, exist_ok=True)
                    advisor.plan(network, budgets={"macs": budget}, patterns=[pattern], responses=responses).save(path)
                found[label] = load_plan(path)
        found |= {label: tried[label] for name in PLAIN if (label := f"{budget} {name}") in tried}
    return found


def study_of(setting: Setting, network: Network, plans: Mapping[str, Plan]) -> Study:
    shape = (1, setting.side, setting.side)
    return Study(
        model=MODEL,
        contestants=(
            Contestant(label="dense", plan=None),
            *(Contestant(label=label, plan=replace(plan, network=network)) for label, plan in plans.items()),
        ),
        seeds=tuple(range(setting.seeds)),
        data=load_data("cluttered", Request(shape=shape, train_size=setting.train_size, test_size=2000)),
        recipe=Recipe(epochs=setting.epochs),
        out=setting.out,
        build=builder(MODEL, network.input_shapes),
    )


def train(study: Study, network: Network, labels: Sequence[str], seeds: Sequence[int], until: float) -> bool:
    """Trains these plans on these seeds until the time is over. Whether all have a result."""
    open_folder(study)
    monitor = Monitor(study.out, total_steps(study), shown=False)
    by_label = {one.label: one for one in study.contestants}
    for seed in seeds:
        for label in labels:
            if read(study, label, seed) is not None:
                continue
            if time.monotonic() > until:
                return False
            one = by_label[label]
            costs = one.plan.costs if one.plan else None
            counts = {
                "params": int(costs["params"].plan) if costs else network.params,
                "macs": int(costs["macs"].plan) if costs else network.macs,
            }
            began = time.monotonic()
            found = run_trial(study, one, seed, counts, monitor)
            seconds = time.monotonic() - began
            print(f"{label}, seed {seed}: accuracy {found['accuracy']} in {seconds:.0f} s", file=sys.stderr, flush=True)
    return True


def read(study: Study, label: str, seed: int) -> Mapping[str, Any] | None:
    path = result_file(study, run_name(label, seed))
    found: Mapping[str, Any] | None = read_json(path) if path.is_file() else None
    return found


def accuracies(study: Study, seeds: Sequence[int]) -> Accuracies:
    found: Accuracies = {}
    for one in study.contestants:
        runs = {seed: run for seed in seeds if (run := read(study, one.label, seed)) is not None}
        found[one.label] = {seed: float(run["accuracy"]) for seed, run in runs.items() if run["accuracy"] is not None}
    return found


def table(setting: Setting, network: Network, plans: Mapping[str, Plan], reached: Accuracies) -> str:
    """Accuracies beside costs, then what *both* chose."""
    rows = [["", "dense", f"{network.macs / 1e6:.2f} M", f"{network.params:,}", shown(reached["dense"]), ""]]
    texts = []
    for budget in setting.budgets:
        mine = {label: plan for label, plan in plans.items() if label.startswith(f"{budget} ")}
        rivals = [label for label in mine if label.split(" ", 1)[1].removesuffix(", learnt") in PURE and reached[label]]
        best = max(rivals, key=lambda label: mean_interval(list(reached[label].values())).mean, default=None)
        for label, plan in mine.items():
            name = label.split(" ", 1)[1]
            more = ""
            if name.startswith("both"):
                apart = paired(reached[label], reached[best]) if best else None
                more = f"{interval(apart)} to {str(best).split(' ', 1)[1]}" if apart else ""
                texts.append(f"\n{label}: " + "; ".join(f"{x.name} {x.option.label}" for x in plan.layers))
            costs = {key: line.plan for key, line in plan.costs.items()}
            rows.append(
                [budget, name, f"{costs['macs'] / 1e6:.2f} M", f"{costs['params']:,.0f}", shown(reached[label]), more]
            )
    headers = ["budget", "plan", "MACs", "params", "accuracy", "difference"]
    return "\n".join([tabulate(rows, headers=headers, disable_numparse=True), *texts])


def shown(values: Mapping[int, float]) -> str:
    return interval(mean_interval(list(values.values()))) if values else "not trained"


def interval(found: Any) -> str:
    half = f" ± {(found.high - found.low) / 2:.4f}" if found.low is not None else ""
    return f"{found.mean:.4f}{half} (n={found.count})"


if __name__ == "__main__":
    main()
