"""How short is long enough? What short runs say about the order that plans have after long ones.

    python benchmarks/how_long.py --out FOLDER [--plans 12] [--seeds 2] [--epochs 1,2,4,8,16] [--minutes 12]

Draws random plans of a small network at three budgets, trains each on cluttered digits for 1, 2, 4, 8 and 16 epochs,
every length with a one-cycle schedule of its own, and prints Spearman's and Kendall's correlation between the plans'
mean accuracies after each length and after the longest, with 95 % bootstrap intervals over plans. Beside it stands what
the longest runs themselves showed after as many epochs, where successive halving looks: their rate is still high there.
"lost" is what trusting the short runs costs: the long-run accuracy of the best plan of a budget less that of the plan
that the short runs put first. Everything is kept in the folder; started again, it goes on. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import kendalltau
from tabulate import tabulate

import advisor
from advisor.models import load_model
from advisor.network import Network
from advisor.plans.plan import Plan, load_plan
from validation.contestants import Contestant, builder
from validation.data import Request, load_data
from validation.learning.designed import design
from validation.running.folder import open_folder
from validation.running.matrix import total_steps
from validation.running.progress import Monitor
from validation.running.results import result_file, run_name
from validation.running.trials import Study, run_trial
from validation.training.recipe import Recipe

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.judging.scores import ceiling, spearman  # noqa: E402

Floats = NDArray[np.float64]
Reached = Mapping[str, Mapping[int, float]]  # plan → seed → test accuracy
SPEC = f"{Path(__file__).parent / 'judging' / 'networks.py'}:strided"
BUDGETS = ("30%", "15%", "7%")  # of the MACs
PATTERNS = ("channel", "group", "width")
TRAIN, TEST, BATCH = 960, 1000, 32
RESAMPLES = 2000
ENOUGH = 0.8  # of a rank correlation


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """A rank correlation over plans, with its 95 % interval over resampled plans."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def means_of(reached: Reached) -> dict[str, float]:
    """Plan → mean over the seeds that every plan has."""
    shared = sorted(set.intersection(*(set(runs) for runs in reached.values()))) if reached else []
    return {plan: float(np.mean([runs[seed] for seed in shared])) for plan, runs in reached.items()} if shared else {}


def agreement(short: Mapping[str, float], long: Mapping[str, float], *, kind: str, seed: int = 0) -> Agreement:
    """Spearman's rho or Kendall's tau-b over the plans that both know.

    Args:
        kind: "spearman" or "kendall".
    """
    plans = sorted(short.keys() & long.keys())
    x, y = (np.array([values[plan] for plan in plans]) for values in (short, long))
    measure = spearman if kind == "spearman" else _kendall
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(RESAMPLES):
        rows = rng.integers(0, len(plans), len(plans))
        if len(np.unique(x[rows])) > 1 and len(np.unique(y[rows])) > 1:
            drawn.append(measure(x[rows], y[rows]))
    low, high = np.percentile(drawn, [2.5, 97.5]) if drawn else (-1.0, 1.0)
    return Agreement(value=measure(x, y), low=float(low), high=float(high))


def _kendall(x: Floats, y: Floats) -> float:
    found = float(kendalltau(x, y).statistic)
    return 0.0 if np.isnan(found) else found


def within(short: Mapping[str, float], long: Mapping[str, float], budgets: Mapping[str, str]) -> float:
    """Spearman's rho within each budget, averaged: what is left when the budget itself decides nothing."""
    found = []
    for budget in sorted(set(budgets.values())):
        plans = sorted(plan for plan in short.keys() & long.keys() if budgets[plan] == budget)
        if len(plans) > 2:
            found.append(spearman(np.array([short[p] for p in plans]), np.array([long[p] for p in plans])))
    return float(np.mean(found)) if found else float("nan")


def lost(short: Mapping[str, float], long: Mapping[str, float], budgets: Mapping[str, str]) -> float:
    """Long-run accuracy of each budget's best plan less that of the plan which the short runs put first; the mean."""
    found = []
    for budget in sorted(set(budgets.values())):
        plans = sorted(plan for plan in short.keys() & long.keys() if budgets[plan] == budget)
        if plans:
            found.append(max(long[plan] for plan in plans) - long[max(plans, key=short.__getitem__)])
    return float(np.mean(found)) if found else float("nan")


def plans_in(folder: Path, network: Network, count: int) -> dict[str, Plan]:
    """Random plans by label ("15%-3"), a third at each budget, drawn once and then read from `folder`."""
    each = count // len(BUDGETS)
    places = {f"{budget}-{number}": folder / f"{budget}-{number}.json" for budget in BUDGETS for number in range(each)}
    if not all(place.is_file() for place in places.values()):
        folder.mkdir(parents=True, exist_ok=True)
        for budget in BUDGETS:
            drawn = design(network, each, budgets=({"macs": budget},), patterns=PATTERNS)
            for number, plan in enumerate(drawn):
                plan.save(places[f"{budget}-{number}"])
    return {label: load_plan(place) for label, place in places.items()}


def study_of(out: Path, epochs: int, plans: Mapping[str, Plan], network: Network, seeds: int, *, curves: bool) -> Study:
    """All plans for `epochs` epochs."""
    return Study(
        model="strided",
        contestants=tuple(Contestant(label=label, plan=plan) for label, plan in plans.items()),
        seeds=tuple(range(seeds)),
        data=load_data("cluttered", Request(shape=(1, 28, 28), train_size=TRAIN, test_size=TEST)),
        recipe=Recipe(epochs=epochs, batch=BATCH, curves=curves),
        out=out / f"{epochs}-epochs",
        build=builder(SPEC, network.input_shapes),
    )


def trained(study: Study, until: float) -> list[Mapping[str, object]]:
    """The runs that are there when the clock says `until`, seed by seed."""
    open_folder(study)
    monitor = Monitor(study.out, total_steps(study))
    found = []
    with monitor.until_done(len(study.contestants) * len(study.seeds), study.out):
        for seed in study.seeds:
            for one in study.contestants:
                known = result_file(study, run_name(one.label, seed)).exists()
                if not known and time.monotonic() > until:
                    continue
                result = run_trial(study, one, seed, {"params": 0, "macs": 0}, monitor)
                monitor.finished(result, study.recipe.epochs * study.recipe.steps(len(study.data.train)))
                found.append(result)
    return found


def after(runs: Sequence[Mapping[str, object]], epoch: int | None = None) -> dict[str, dict[int, float]]:
    """What runs reached at their end, or after `epoch` epochs; failed runs are left out."""
    found: dict[str, dict[int, float]] = {}
    for run in runs:
        epochs = run["epochs"]
        assert isinstance(epochs, list)
        value = run["accuracy"] if epoch is None else epochs[epoch - 1]["test_accuracy"]
        if run["accuracy"] is not None and value is not None:
            found.setdefault(str(run["plan"]), {})[int(str(run["seed"]))] = float(value)
    return found


def verdict(rows: Mapping[int, tuple[float, float]], longest: int) -> str:
    """How short is long enough, from epochs → (rho over all plans, rho within budgets)."""

    def first(place: int) -> str:
        """The shortest length from which on all lengths agree."""
        good = [epochs for epochs in sorted(rows) if all(rows[e][place] >= ENOUGH for e in rows if e >= epochs)]
        return f"{good[0]} of {longest} epochs" if good else f"none of the lengths below {longest} epochs"

    return (
        f"rank correlation of {ENOUGH} and more with the longest runs: over all plans from {first(0)} on, "
        f"within budgets from {first(1)} on"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--plans", type=int, default=12, help="a third at each of three budgets")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", default="1,2,4,8,16")
    parser.add_argument("--minutes", type=float, default=12.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.environ.setdefault("ADVISOR_TUNING", "off")  # tilings by rule: the same sums on every machine of one kind
    until = time.monotonic() + 60 * options.minutes
    lengths = sorted(int(word) for word in options.epochs.split(","))
    loaded = load_model(SPEC, device="cpu")
    network = advisor.analyze(loaded.module, loaded.example_inputs, name="strided")
    plans = plans_in(options.out / "plans", network, options.plans)
    budgets = {label: label.partition("-")[0] for label in plans}
    longest = lengths[-1]
    runs = {}
    for epochs in (longest, *lengths[:-1]):  # the yardstick first
        study = study_of(options.out, epochs, plans, network, options.seeds, curves=epochs == longest)
        runs[epochs] = trained(study, until)
        missing = len(plans) * options.seeds - len(runs[epochs])
        if missing:
            print(f"{missing} runs of {epochs} epochs are missing; run it again to go on")
    reference = after(runs[longest])
    if len(reference) < 3:
        print("too few long runs to compare with")
        return
    long, rows, told = means_of(reference), [], {}
    for epochs in lengths[:-1]:
        own, on_the_way = means_of(after(runs[epochs])), means_of(after(runs[longest], epochs))
        if len(own) < 3:
            continue
        rho = agreement(own, long, kind="spearman")
        told[epochs] = (rho.value, within(own, long, budgets))
        seconds = [float(str(run["seconds"])) for run in runs[epochs]]
        rows.append(
            [epochs, rho, agreement(own, long, kind="kendall"), f"{told[epochs][1]:.2f}",
             f"{100 * lost(own, long, budgets):.1f}", agreement(on_the_way, long, kind="spearman"),
             f"{within(on_the_way, long, budgets):.2f}", f"{100 * lost(on_the_way, long, budgets):.1f}",
             f"{np.mean(seconds):.1f}"]
        )  # fmt: skip
    print(
        f"{len(long)} plans at {', '.join(BUDGETS)} of the MACs, {options.seeds} seeds, {TRAIN} training and {TEST} "
        f"test images, batches of {BATCH}; against {longest} epochs, whose accuracies are {min(long.values()):.3f} "
        f"to {max(long.values()):.3f}\n"
    )
    headers = ["epochs", "Spearman", "Kendall", "in a budget", "lost [points]"]
    headers += ["on the way: Spearman", "in a budget", "lost [points]", "s/run"]
    print(tabulate(rows, headers=headers, disable_numparse=True))
    print(
        f"\nwithin budgets a perfect prediction would reach {ceiling(reference, budgets):.2f} (noise of the long runs)"
    )
    print(verdict(told, longest))


if __name__ == "__main__":
    main()
