"""The plans that are drawn, and their short training runs, kept on disk."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import advisor
from advisor.errors import BudgetError
from advisor.models import load_model
from advisor.network import Network
from advisor.plans.plan import Plan, load_plan
from validation.contestants import Contestant, builder
from validation.data import Request, load_data
from validation.progress import Monitor
from validation.training import SCRATCH_RATE, Recipe
from validation.trials import Study, open_folder, run_trial, total_steps

NETWORKS: Mapping[str, tuple[str, ...]] = {  # network → budgets on MACs
    "plain": ("20%", "10%"),
    "residual": ("30%", "15%"),
}
PATTERNS = ("channel", "group", "width")
TRAIN, TEST, EPOCHS = 4000, 2000, 2


@dataclass(frozen=True, kw_only=True)
class Trained:
    """One network with its plans. Labels are "20%-07": a budget and a number."""

    name: str
    network: Network
    plans: Mapping[str, Plan]
    study: Study

    def result(self, label: str, seed: int) -> Mapping[str, Any] | None:
        """A run's result, None while it is not finished."""
        from advisor.files import read_json

        path = self.study.out / "runs" / f"{label}-{seed}.json"
        found: Mapping[str, Any] | None = read_json(path) if path.is_file() else None
        return found


def prepare(name: str, out: Path, count: int, seeds: int) -> Trained:
    """The network `name` and `count` random plans at each of its budgets, drawn once and then read from `out`."""
    spec = f"{Path(__file__).with_name('networks.py')}:{name}"
    loaded = load_model(spec, device="cpu")
    network = advisor.analyze(loaded.module, loaded.example_inputs, name=name)
    folder = out / name / "plans"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {f"{budget}-{number:02d}": (budget, number) for budget in NETWORKS[name] for number in range(count)}
    if any(not (folder / f"{label}.json").is_file() for label in wanted):
        for label, plan in _drawn(network, wanted).items():
            if not (folder / f"{label}.json").is_file():
                plan.save(folder / f"{label}.json")
    plans = {label: load_plan(folder / f"{label}.json") for label in wanted}
    data = load_data("cluttered", Request(shape=(1, 28, 28), train_size=TRAIN, test_size=TEST))
    study = Study(
        model=name,
        contestants=(
            Contestant(label="dense", plan=None),
            *(Contestant(label=label, plan=plan) for label, plan in plans.items()),
        ),
        seeds=tuple(range(seeds)),
        data=data,
        recipe=Recipe(epochs=EPOCHS, peak_rate=SCRATCH_RATE),
        out=out / name,
        build=builder(spec, network.input_shapes),
    )
    return Trained(name=name, network=network, plans=plans, study=study)


def _drawn(network: Network, wanted: Mapping[str, tuple[str, int]]) -> dict[str, Plan]:
    """Every pattern alone and all mixed, by turns; a pattern that cannot meet the budget leaves its turn to the mix."""
    from advisor.planning.build import build_table
    from advisor.planning.options import menu
    from validation.designed import Draw, assembled, draw, styles

    built = build_table(network, menu(network, PATTERNS))
    turns = styles(PATTERNS)
    found = {}
    for label, (budget, number) in wanted.items():
        percent = int(budget.rstrip("%"))
        limits = {"macs": percent / 100 * network.macs}
        patterns = turns[number % len(turns)]
        try:
            choice = draw(network, built, limits, patterns, (percent, number))
        except BudgetError:
            patterns = turns[-1]
            choice = draw(network, built, limits, patterns, (percent, number))
        one = Draw(choice=choice, patterns=patterns, limits=limits)
        found[label] = assembled(network, built, one, number=number, seed=0, rounding="ceil")
    return found


def train(groups: Sequence[Trained], minutes: float) -> int:
    """Trains what has no result yet, the networks by turns, until the time is over.

    Returns:
        How many runs are still to do.
    """
    until = time.monotonic() + 60 * minutes
    monitors = {}
    for group in groups:
        open_folder(group.study)
        monitors[group.name] = Monitor(group.study.out, total_steps(group.study), shown=False)
    todo = [
        (group, contestant, seed)
        for group, contestant, seed in _order(groups)
        if group.result(contestant.label, seed) is None
    ]
    began, done = time.monotonic(), 0
    for group, contestant, seed in todo:
        if time.monotonic() > until:
            break
        costs = contestant.plan.costs if contestant.plan else None
        counts = {
            "params": int(costs["params"].plan) if costs else group.network.params,
            "macs": int(costs["macs"].plan) if costs else group.network.macs,
        }
        found = run_trial(group.study, contestant, seed, counts, monitors[group.name])
        done += 1
        each = (time.monotonic() - began) / done
        print(
            f"{group.name} {contestant.label} seed {seed}: loss {found['loss']:.4f}, accuracy {found['accuracy']:.4f} "
            f"({done} of {len(todo)}, {each:.1f} s each)",
            flush=True,
        )
    return len(todo) - done


def _order(groups: Sequence[Trained]) -> list[tuple[Trained, Contestant, int]]:
    """Dense, then the tightest budget with two seeds, the next one with two, then further seeds."""
    found = []
    for group in groups:
        budgets = {budget: rank for rank, budget in enumerate(reversed(NETWORKS[group.name]))}
        for one in group.study.contestants:
            budget, _, number = one.label.partition("-")
            for seed in group.study.seeds:
                key = (seed // 2, budgets.get(budget, -1), seed, int(number or 0), group.name)
                found.append((key, (group, one, seed)))
    return [item for _, item in sorted(found, key=lambda pair: pair[0])]
