"""Does a layer that is narrowed and sparse at once beat one that is only one of the two?

    python benchmarks/combined.py --out runs/combined
    python benchmarks/combined.py --out runs/combined --minutes 0       # the table of what is there

The demo's network (four 3x3 convolutions) learns cluttered digits from scratch under plans of equal MACs: *channel*
and *width* are the planner's best with that pattern alone, *erk* and *one factor* the plain baselines (densities in the
shape of ERK; one width factor everywhere), and *both* the planner's best where every layer may be narrowed, sparse, or
narrowed and sparse (pattern "width+channel").

Estimated losses of different patterns stand on one scale by what is learnt first: at each budget the best plans of one
pattern are trained on seeds of their own, which no table shows, and accuracy lost per unit of estimated loss is that
pattern's rate. Printed are mean test accuracies with a 95 % interval over the seeds, and the paired difference of
*both* to the best of the others, chosen by the same runs, which favours them.

Everything that was trained lies in --out; the same command goes on where --minutes stopped it.
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
from advisor.plans.plan import Plan
from validation.contestants import Contestant, builder
from validation.data import Request, load_data
from validation.exchange import exchange, losses_by_pattern
from validation.progress import Monitor
from validation.statistics import mean_interval, paired
from validation.training import Recipe
from validation.trials import Study, open_folder, run_trial, total_steps

MODEL = "zoo:digits_cnn"
PURE = ("channel", "erk", "width", "one factor")
BOTH = "both"
FIRST_LEARNING_SEED = 100  # of the runs that the rates come from
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
    learning: tuple[int, ...]  # seeds of the runs that the rates come from


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--minutes", type=float, default=60.0, help="stop after so many; 0 only prints")
    parser.add_argument("--budgets", default="25%,12%,6%", help="shares of the dense MACs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--side", type=int, default=28, help="pixels of an image's side")
    parser.add_argument("--train-size", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--learning-seeds", type=int, default=2)
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
    plans = {f"{budget} {name}": plan for budget in setting.budgets for name, plan in pure(network, budget).items()}
    study = study_of(setting, network, plans)
    learning = ["dense", *(f"{b} {name}" for b in setting.budgets for name in ("channel", "width"))]
    complete = train(
        study, network, [label for label in learning if label in ("dense", *plans)], setting.learning, until
    )
    rates: dict[str, dict[str, float]] = {}
    for budget in setting.budgets if complete else ():
        known = learnt(network, plans, budget, accuracies(study, setting.learning))
        rates[budget] = known or next(reversed(rates.values()), {})  # else those of the budget before
    for budget, found in rates.items():
        names = ("width+channel",)
        plan = advisor.plan(network, budgets={"macs": budget}, patterns=names, exchange=found or None)
        plans[f"{budget} {BOTH}"] = plan
    if rates:
        study = study_of(setting, network, plans)
        for seed in range(setting.seeds):  # seed by seed, so that an early stop leaves comparable plans
            complete = train(study, network, [*plans, "dense"], (seed,), until)
    print(table(setting, network, plans, rates, accuracies(study, range(setting.seeds))))
    if not complete:
        print("\nnot everything is trained yet: run the same command again to go on")


def pure(network: Network, budget: str) -> dict[str, Plan]:
    """The rivals that can meet one budget."""
    found = {"width": advisor.plan(network, budgets={"macs": budget}, patterns=["width"])}
    try:
        found["channel"] = advisor.plan(network, budgets={"macs": budget}, patterns=["channel"])
    except BudgetError as error:
        print(f"channel at {budget}: {error}", file=sys.stderr)
    plain = baselines(network, found.get("channel", found["width"]), kinds=["erk", "width"])
    found |= {name: plain[kind] for name, kind in (("erk", "erk"), ("one factor", "width")) if kind in plain}
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
    path = study.out / "runs" / f"{label}-{seed}.json"
    found: Mapping[str, Any] | None = read_json(path) if path.is_file() else None
    return found


def accuracies(study: Study, seeds: Sequence[int]) -> Accuracies:
    found: Accuracies = {}
    for one in study.contestants:
        runs = {seed: run for seed in seeds if (run := read(study, one.label, seed)) is not None}
        found[one.label] = {seed: float(run["accuracy"]) for seed, run in runs.items() if run["accuracy"] is not None}
    return found


def learnt(network: Network, plans: Mapping[str, Plan], budget: str, reached: Accuracies) -> dict[str, float]:
    """Pattern → what a unit of its estimated loss costs, from plans of one pattern at this budget; {} if unknown."""
    labels = [label for name in ("channel", "width") if (label := f"{budget} {name}") in plans]
    if len(labels) < 2:
        return {}
    found = exchange(
        {label: losses_by_pattern(network, plans[label]) for label in labels},
        {label: reached[label] for label in ("dense", *labels)},
    )
    return {rate.pattern: rate.rate for rate in found.rates}


def table(
    setting: Setting,
    network: Network,
    plans: Mapping[str, Plan],
    rates: Mapping[str, Mapping[str, float]],
    reached: Accuracies,
) -> str:
    rows = [["", "dense", f"{network.macs / 1e6:.2f} M", f"{network.params:,}", shown(reached["dense"]), "", ""]]
    for budget in setting.budgets:
        order = sorted(
            (name for name in PURE if reached.get(f"{budget} {name}")),
            key=lambda name: -mean_interval(list(reached[f"{budget} {name}"].values())).mean,
        )
        for name in (*PURE, BOTH):
            label = f"{budget} {name}"
            if label not in plans:
                continue
            costs = {key: line.plan for key, line in plans[label].costs.items()}
            more = ""
            if name == BOTH and order and reached[label]:
                apart = paired(reached[label], reached[f"{budget} {order[0]}"])
                more = f"{interval(apart)} to {order[0]}" if apart else ""
            made = ", ".join(f"{rate} {value:.2f}" for rate, value in sorted(rates.get(budget, {}).items()))
            rows.append(
                [
                    budget,
                    name,
                    f"{costs['macs'] / 1e6:.2f} M",
                    f"{costs['params']:,.0f}",
                    shown(reached[label]),
                    more,
                    made if name == BOTH else "",
                ]
            )
    headers = ["budget", "plan", "MACs", "params", "accuracy", "difference", "rates"]
    parts = [tabulate(rows, headers=headers, disable_numparse=True)]
    for budget in rates:
        layers = plans[f"{budget} {BOTH}"].layers
        parts.append(f"\n{budget} {BOTH}: " + "; ".join(f"{x.name} {x.option.label}" for x in layers))
    return "\n".join(parts)


def shown(values: Mapping[int, float]) -> str:
    return interval(mean_interval(list(values.values()))) if values else "not trained"


def interval(found: Any) -> str:
    half = f" ± {(found.high - found.low) / 2:.4f}" if found.low is not None else ""
    return f"{found.mean:.4f}{half} (n={found.count})"


if __name__ == "__main__":
    main()
