"""The plans that are drawn, and their short training runs, kept on disk."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import advisor
from advisor.errors import BudgetError
from advisor.files import read_json, write_bytes
from advisor.models import load_model, load_weights
from advisor.network import Network
from advisor.plans.plan import Plan, load_plan
from validation.contestants import Contestant, builder
from validation.data import DataSet, Request, load_data
from validation.running.folder import open_folder
from validation.running.matrix import total_steps
from validation.running.progress import Monitor
from validation.running.results import result_file, run_name
from validation.running.trials import Study, run_trial
from validation.training.recipe import FINETUNE_RATE, SCRATCH_RATE, Recipe
from validation.training.trainer import Trainer

PATTERNS = ("channel", "group", "width")
TRAIN, TEST, SIDE = 4000, 2000, 28


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network in a situation. `pretrained`: epochs of the dense network that plans start from; 0: from scratch."""

    network: str  # of networks.py
    budgets: tuple[str, ...]  # on MACs, the tightest last
    epochs: int
    pretrained: int = 0

    @property
    def selection(self) -> str:
        return "magnitude" if self.pretrained else "random"


CASES: Mapping[str, Case] = {
    "plain": Case(network="plain", budgets=("20%", "10%"), epochs=2),
    "residual": Case(network="residual", budgets=("30%", "15%"), epochs=2),
    "plain-pretrained": Case(network="plain", budgets=("20%",), epochs=1, pretrained=6),
}


@dataclass(frozen=True, kw_only=True)
class Trained:
    """One case with its plans. Labels are "20%-07": a budget and a number."""

    name: str
    case: Case
    network: Network
    plans: Mapping[str, Plan]
    study: Study

    def result(self, label: str, seed: int) -> Mapping[str, Any] | None:
        """A run's result, None while it is not finished."""
        path = result_file(self.study, run_name(label, seed))
        found: Mapping[str, Any] | None = read_json(path) if path.is_file() else None
        return found


def prepare(name: str, out: Path, count: int, seeds: int) -> Trained:
    """The case `name` and `count` random plans at each of its budgets, drawn once and then read from `out`."""
    case = CASES[name]
    spec = f"{Path(__file__).with_name('networks.py')}:{case.network}"
    loaded = load_model(spec, device="cpu")
    network = advisor.analyze(loaded.module, loaded.example_inputs, name=case.network)
    build = builder(spec, network.input_shapes)
    data = load_data("cluttered", Request(shape=(1, SIDE, SIDE), train_size=TRAIN, test_size=TEST))
    (out / name / "plans").mkdir(parents=True, exist_ok=True)
    checkpoint = None
    if case.pretrained:
        checkpoint = out / name / "dense.pt"
        if not checkpoint.is_file():
            _train_dense(build(0), data, case.pretrained, checkpoint)
        load_weights(loaded.module, checkpoint)
    plans = _plans(network, case, count, out / name / "plans")
    study = Study(
        model=name,
        contestants=(
            Contestant(label="dense", plan=None),
            *(Contestant(label=label, plan=plan) for label, plan in plans.items()),
        ),
        seeds=tuple(range(seeds)),
        data=data,
        recipe=Recipe(epochs=case.epochs, peak_rate=FINETUNE_RATE if case.pretrained else SCRATCH_RATE),
        out=out / name,
        build=build,
        checkpoint=checkpoint,
    )
    return Trained(name=name, case=case, network=network, plans=plans, study=study)


def _train_dense(module: torch.nn.Module, data: DataSet, epochs: int, path: Path) -> None:
    trainer = Trainer(module, Recipe(epochs=epochs), data.train, seed=1000)
    for _ in range(epochs):
        trainer.run_epoch()
    stream = io.BytesIO()
    torch.save(trainer.module.state_dict(), stream)
    write_bytes(path, stream.getvalue())


def _plans(network: Network, case: Case, count: int, folder: Path) -> dict[str, Plan]:
    wanted = {f"{budget}-{number:02d}": (budget, number) for budget in case.budgets for number in range(count)}
    if any(not (folder / f"{label}.json").is_file() for label in wanted):
        for label, plan in _drawn(network, case, wanted).items():
            if not (folder / f"{label}.json").is_file():
                plan.save(folder / f"{label}.json")
    return {label: load_plan(folder / f"{label}.json") for label in wanted}


def _drawn(network: Network, case: Case, wanted: Mapping[str, tuple[str, int]]) -> dict[str, Plan]:
    """Every pattern alone and all mixed, by turns; a pattern that cannot meet the budget leaves its turn to the mix."""
    from advisor.planning.build import build_table
    from advisor.planning.menu.options import menu
    from validation.learning.designed import Draw, assembled, draw, styles

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
        found[label] = assembled(network, built, one, number=number, seed=0, rounding="ceil", selection=case.selection)
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
        found = run_trial(group.study, contestant, seed, counts_of(group, contestant), monitors[group.name])
        done += 1
        each = (time.monotonic() - began) / done
        print(
            f"{group.name} {contestant.label} seed {seed}: loss {found['loss']:.4f}, accuracy {found['accuracy']:.4f} "
            f"({done} of {len(todo)}, {each:.1f} s each)",
            flush=True,
        )
    return len(todo) - done


def counts_of(group: Trained, contestant: Contestant) -> dict[str, int]:
    """What a run's file says of its plan, by the plan's own lines."""
    costs = contestant.plan.costs if contestant.plan else None
    return {
        "params": int(costs["params"].plan) if costs else group.network.params,
        "macs": int(costs["macs"].plan) if costs else group.network.macs,
    }


def _order(groups: Sequence[Trained]) -> list[tuple[Trained, Contestant, int]]:
    """Two seeds of everything at the tightest budget, from scratch first; then two at the next; then more."""
    found = []
    for group in groups:
        budgets = {budget: rank for rank, budget in enumerate(reversed(group.case.budgets))}
        for one in group.study.contestants:
            budget, _, number = one.label.partition("-")
            for seed in group.study.seeds:
                key = (seed // 2, budgets.get(budget, 0), group.case.pretrained, seed, int(number or -1), group.name)
                found.append((key, (group, one, seed)))
    return [item for _, item in sorted(found, key=lambda pair: pair[0])]
