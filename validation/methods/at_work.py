"""Training methods at work in a validation's runs: attached before, their findings kept and counted after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from advisor.files import write_bytes
from advisor.plans.plan import load_plan
from validation.contestants import Contestant, begin
from validation.methods.method import Method, Outcome, Run
from validation.reporting.receipts import count
from validation.running.results import run_name
from validation.training.recipe import placed
from validation.training.trainer import Trainer

if TYPE_CHECKING:
    from advisor.plans.plan import Plan
    from validation.running.trials import Study

FOUND = "found"  # what training methods leave behind, a folder per run


def found_plan(out: Path, label: str, seed: int) -> Path:
    """Where the plan lies that a method found in one run."""
    return out / FOUND / run_name(label, seed) / "plan.json"


def attached(study: Study, contestant: Contestant, trainer: Trainer) -> tuple[Method, ...]:
    """A contestant's training methods on its module and optimiser."""
    if not contestant.settings:
        return ()
    if study.network is None:
        raise ValueError("a study with training methods needs its network")

    def sample(count: int, batch: int) -> Iterator[torch.Tensor]:
        train = study.data.train
        for start in range(0, min(count, len(train)), batch):
            pixels, _ = train.batch(torch.arange(start, min(start + batch, count, len(train))))
            yield placed(pixels, study.recipe.device, channels_last=study.recipe.channels_last)

    run = Run(
        module=trainer.module,
        optimizer=trainer.optimizer,
        network=study.network,
        plan=contestant.plan,
        epochs=study.recipe.epochs,
        steps_per_epoch=study.recipe.steps(len(study.data.train)),
        train_size=len(study.data.train),
        seed=trainer.seed,
        sample=sample,
    )
    return tuple(one.attach(run) for one in contestant.settings)


def try_methods(study: Study) -> None:
    """Attaches every contestant's training methods once and takes them off, before anything long begins.

    Raises:
        AdvisorError: one cannot do its work on this network, plan or number of steps.
    """
    for contestant in study.contestants:
        if contestant.settings:
            seed = study.seeds[0]
            module = begin(contestant, study.build, seed, study.checkpoint)
            for method in attached(study, contestant, Trainer(module, study.recipe, study.data.train, seed=seed)):
                method.close()


def finished(study: Study, methods: Sequence[Method], name: str) -> Outcome:
    """What the methods leave behind, their files written; the last plan that one of them found counts."""
    found = [method.finish() for method in methods]
    for method in methods:
        method.close()
    folder = study.out / FOUND / name
    files = {file: content for one in found for file, content in one.files.items()}
    plan = next((one.plan for one in reversed(found) if one.plan is not None), None)
    if plan is not None or files:
        folder.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        write_bytes(folder / file, content)
    if plan is not None:
        plan.save(folder / "plan.json")
    return Outcome(
        plan=plan,
        numbers={key: value for one in found for key, value in one.numbers.items()},
        files=files,
        notes=tuple(note for one in found for note in one.notes),
    )


def as_found(one: Contestant, study: Study) -> Contestant:
    """A contestant with the plan that its training method found in the first seed that found one."""
    for seed in study.seeds if one.method is not None else ():
        path = found_plan(study.out, one.label, seed)
        if path.is_file():
            return replace(one, plan=replace(load_plan(path), network=study.network))
    return one


def counts_of(study: Study, label: str, plan: Plan) -> Mapping[str, int]:
    """Parameters and MACs of a network that was found in training."""
    assert study.network is not None
    counted = count(Contestant(label=label, plan=plan), study.build(0), study.network)
    return {"params": counted.params, "macs": counted.macs}
