"""The matrix of runs, plans x seeds, kept on disk so that a kill at any moment costs one epoch at most."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

import torch

from advisor.errors import AdvisorError
from advisor.files import read_json, take_lock, write_bytes, write_json
from validation.contestants import Build, Contestant, begin
from validation.methods.at_work import FOUND, attached, counts_of, finished, found_plan
from validation.methods.method import Outcome
from validation.progress import Monitor
from validation.training import DivergedError, EpochResult, Recipe, Trainer, evaluate, recalibrate

if TYPE_CHECKING:
    from advisor.network import Network
    from advisor.plans.plan import Plan
    from validation.data import DataSet

SETTINGS = "settings.json"
RUNS = "runs"
RESULT = {  # what a run's file holds beside `plan` and `seed`
    "accuracy": (float, int, NoneType),
    "loss": (float, int, NoneType),
    "seconds": (float, int),
    "params": (int,),
    "macs": (int,),
    "epochs": (list,),
    "problem": (str,),
}


@dataclass(frozen=True, kw_only=True)
class Study:
    """Everything that the runs of one validation share."""

    model: str
    contestants: tuple[Contestant, ...]
    seeds: tuple[int, ...]
    data: DataSet
    recipe: Recipe
    out: Path
    build: Build
    checkpoint: Path | None = None
    network: Network | None = None  # the dense network, analysed; training methods need it

    def settings(self) -> dict[str, Any]:
        """What must be equal for two runs to be comparable. More plans and more seeds may join later."""
        dense = self.build(0)
        shapes = [(name, tuple(tensor.shape)) for name, tensor in dense.state_dict().items()]
        return {
            "model": self.model,
            "network": digest(repr(shapes).encode()),
            "data": self.data.name,
            "image": list(self.data.shape),
            "train_size": len(self.data.train),
            "test_size": len(self.data.test),
            "epochs": self.recipe.epochs,
            "batch": self.recipe.batch,
            "peak_rate": self.recipe.peak_rate,
            "optimizer": self.recipe.optimizer,
            "momentum": self.recipe.momentum,
            "l2": self.recipe.l2,
            "weight_decay": self.recipe.weight_decay,
            "device": self.recipe.device,
            "from": digest(self.checkpoint.read_bytes()) if self.checkpoint else None,
        }


def digest(data: bytes) -> str:
    """A short name for these bytes: the first 16 digits of their SHA-256."""
    return hashlib.sha256(data).hexdigest()[:16]


def plan_digest(plan: Plan | None) -> str:
    """Changes with anything that changes the network that is trained, and with nothing else."""
    if plan is None:
        return "dense"
    layers = plan.to_json()["layers"]
    chosen = {name: digest(array.tobytes()) for name, array in sorted((plan.chosen or {}).items())}
    return digest(json.dumps([layers, chosen], sort_keys=True).encode())


def contestant_digest(one: Contestant) -> str:
    """Changes with anything that changes what is trained, or how."""
    plan = plan_digest(one.plan)
    return plan if one.method is None else f"{plan} {one.method.settings!r}"


def open_folder(study: Study) -> None:
    """Makes the folder, or checks that what lies there belongs to this study.

    Raises:
        AdvisorError: it holds runs under other settings; the first difference is named.
    """
    (study.out / RUNS).mkdir(parents=True, exist_ok=True)
    wanted = study.settings()
    plans = {one.label: contestant_digest(one) for one in study.contestants}
    path = study.out / SETTINGS
    before: Mapping[str, Any] = {}
    if path.exists():
        before = read_json(path)
        if not isinstance(before, dict) or not isinstance(before.get("plans"), dict):
            raise AdvisorError(f"{path} is no validation's settings; choose another --out")
        differences = [(key, before.get(key), value) for key, value in wanted.items() if before.get(key) != value]
        differences += [
            (f"plan {label!r}", before["plans"][label], value)
            for label, value in plans.items()
            if before["plans"].get(label, value) != value
        ]
        if differences:
            key, old, new = differences[0]
            raise AdvisorError(
                f"{study.out} holds runs with {key}={old}, got {new}; repeat the old settings to go on, "
                "or choose another --out, or pass --restart to throw the old runs away"
            )
    write_json(path, wanted | {"plans": dict(before.get("plans", {})) | plans})


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Keeps a second validation out of the folder; the lock ends with the process, however it ends.

    Raises:
        AdvisorError: another process works there.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("wb") as stream:
        if not take_lock(stream):
            raise AdvisorError(f"another validation runs in {out}; wait for it, or choose another --out")
        yield


def discard(out: Path) -> None:
    """Throws a validation's runs away: only files that one writes."""
    for pattern in (
        SETTINGS,
        "report.*",
        "progress.json",
        f"{RUNS}/*-*.json",
        f"{RUNS}/*-*.pt",
        "plans/*",
        f"{FOUND}/*/*",
    ):
        for path in out.glob(pattern):
            if path.is_file():
                path.unlink()


def run_all(study: Study, counts: Mapping[str, Mapping[str, int]], monitor: Monitor) -> list[dict[str, Any]]:
    """Runs what has no result yet, seed by seed, so that an early stop leaves comparable plans.

    Args:
        counts: plan → `params` and `macs`, for the results.

    Returns:
        One result per plan and seed, plans in their order.
    """
    results = {}
    for seed in study.seeds:
        for contestant in study.contestants:
            result = run_trial(study, contestant, seed, counts[contestant.label], monitor)
            monitor.finished(result, study.recipe.epochs * study.recipe.steps(len(study.data.train)))
            results[contestant.label, seed] = result
    return [results[contestant.label, seed] for contestant in study.contestants for seed in study.seeds]


def total_steps(study: Study) -> int:
    """Optimiser steps of the whole matrix."""
    return len(study.seeds) * len(study.contestants) * study.recipe.epochs * study.recipe.steps(len(study.data.train))


def run_trial(
    study: Study, contestant: Contestant, seed: int, counts: Mapping[str, int], monitor: Monitor
) -> dict[str, Any]:
    """One run: from its result if it has one, from its last epoch if it was cut off, from the start otherwise.

    The result's `params` and `macs` are those of the plan that a training method found, where one did.
    """
    name = f"{contestant.label}-{seed}"
    result_path, checkpoint_path = (study.out / RUNS / f"{name}.{ending}" for ending in ("json", "pt"))
    steps = study.recipe.steps(len(study.data.train))
    monitor.start(name, study.recipe.epochs)
    if result_path.exists():
        return _read_result(result_path, contestant.label, seed)
    module = begin(contestant, study.build, seed, study.checkpoint)
    trainer = Trainer(module, study.recipe, study.data.train, seed=seed)
    trainer.methods = attached(study, contestant, trainer)
    history = _resume(trainer, checkpoint_path, monitor)
    if not history and study.checkpoint is not None:
        recalibrate(trainer.module, study.data.train, study.recipe, seed=seed)
    monitor.skip(steps * trainer.epoch)
    problem = ""
    try:
        while trainer.epoch < study.recipe.epochs:
            said = f"loss {history[-1].loss:.3f}" if history else ""
            monitor.epoch(trainer.epoch + 1, said)
            history.append(trainer.run_epoch(monitor.step))
            _save(trainer, history, checkpoint_path)
    except DivergedError as error:
        problem = str(error)
        monitor.say(f"{name}: {problem}; this run counts as failed")
    outcome = Outcome() if problem else finished(study, trainer.methods, name)
    reached = None if problem else evaluate(trainer.module, study.data.test, device=study.recipe.device)
    if reached is not None and reached.loss != reached.loss:
        reached, problem = None, "the test loss is no number"
    if outcome.plan is not None:
        counts = counts_of(study, contestant.label, outcome.plan)
    result: dict[str, Any] = {
        "plan": contestant.label,
        "seed": seed,
        "accuracy": reached.accuracy if reached else None,
        "loss": reached.loss if reached else None,
        "seconds": sum(epoch.seconds for epoch in history),
        "params": counts["params"],
        "macs": counts["macs"],
        "epochs": [epoch.to_json() for epoch in history],
        "problem": problem,
    }
    if contestant.method is not None:
        result["method"] = {
            "text": contestant.method.text,
            "numbers": dict(outcome.numbers),
            "notes": list(outcome.notes),
            "plan": str(found_plan(study.out, contestant.label, seed).relative_to(study.out)) if outcome.plan else None,
        }
    write_json(result_path, result)
    with suppress(FileNotFoundError):
        checkpoint_path.unlink()
    return result


def _read_result(path: Path, label: str, seed: int) -> dict[str, Any]:
    """A result that an earlier call wrote.

    Raises:
        AdvisorError: someone else wrote it.
    """
    found = read_json(path)
    wrong = "no object" if not isinstance(found, dict) else ""
    if not wrong and (found.get("plan"), found.get("seed")) != (label, seed):
        wrong = f"of plan {str(found.get('plan'))[:40]!r}, seed {str(found.get('seed'))[:20]}"
    for key, kinds in RESULT.items() if not wrong else ():
        if type(found.get(key)) not in kinds:
            wrong = f"with {key}={str(found.get(key))[:40]}"
            break
    if wrong:
        raise AdvisorError(f"{path} is no result of {label}-{seed} ({wrong}); delete it to run it anew")
    result: dict[str, Any] = found
    return result


def _save(trainer: Trainer, history: list[EpochResult], path: Path) -> None:
    stream = io.BytesIO()
    torch.save(trainer.state() | {"history": [epoch.to_json() for epoch in history]}, stream)
    write_bytes(path, stream.getvalue())


def _resume(trainer: Trainer, path: Path, monitor: Monitor) -> list[EpochResult]:
    """Loads the last finished epoch, if there is one."""
    if not path.exists():
        return []
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        trainer.load(state)
        return [EpochResult(**epoch) for epoch in state["history"]]
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise AdvisorError(f"checkpoint {path} cannot be read: {reason}; delete it to start this run anew") from error
