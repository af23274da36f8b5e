"""One run of a study, kept on disk so that a kill at any moment costs one epoch at most."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import torch

from advisor.devices.settings import this_machine
from advisor.errors import AdvisorError
from advisor.files import write_bytes, write_json
from validation.contestants import Build, Contestant, begin
from validation.methods.at_work import attached, counts_of, finished, found_plan
from validation.methods.method import Outcome
from validation.running.progress import Watcher
from validation.running.results import checkpoint_file, known_result, result_file, run_name
from validation.training.evaluation import Evaluation, evaluate, recalibrate
from validation.training.recipe import EpochResult, Recipe
from validation.training.trainer import DivergedError, Trainer

if TYPE_CHECKING:
    from advisor.network import Network, Shape
    from advisor.plans.plan import Plan
    from validation.data import DataSet, Request


@dataclass(frozen=True, kw_only=True)
class Study:
    """Everything that the runs of one validation share.

    Attributes:
        build: seed → the dense module with that seed's random weights.
        checkpoint: trained weights to start from instead.
        network: the dense network, analysed; training methods need it.
        threads: of one run on the CPU, since the order of additions depends on them; None: as torch is set.
        input_shapes, request: how other processes make `build` and `data` anew; runs stay in this one without them.
        rate: how the peak rate was chosen: "fixed", "given" or "auto".
        halving: of successive halving, one plan of so many goes on at each rung; None: every run has its full length.
    """

    model: str
    contestants: tuple[Contestant, ...]
    seeds: tuple[int, ...]
    data: DataSet
    recipe: Recipe
    out: Path
    build: Build
    checkpoint: Path | None = None
    network: Network | None = None
    threads: int | None = None
    input_shapes: tuple[Shape, ...] = ()
    request: Request | None = None
    rate: str = "fixed"
    halving: int | None = None

    @property
    def threads_in_force(self) -> int:
        """CPU threads of every run."""
        return self.threads or torch.get_num_threads()

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
            "rate": self.rate,
            "optimizer": self.recipe.optimizer,
            "momentum": self.recipe.momentum,
            "l2": self.recipe.l2,
            "weight_decay": self.recipe.weight_decay,
            "amp": self.recipe.amp,
            "channels_last": self.recipe.channels_last,
            "compile": self.recipe.compile,
            "halving": self.halving,
            "device": self.recipe.device,
            "threads": self.threads_in_force,
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


def run_trial(
    study: Study,
    contestant: Contestant,
    seed: int,
    counts: Mapping[str, int],
    watcher: Watcher,
    *,
    until: int | None = None,
) -> dict[str, Any]:
    """One run: from its result if it has one, from its last epoch if it was cut off, from the start otherwise.

    Every file is written beside its place and renamed, and what stands in it is a function of the study alone. So a
    run may be killed at any moment, and two processes at the same run do each other no harm.

    Args:
        until: epochs after which the run is tested and left with its checkpoint, for schedules that judge on the way.

    Returns:
        The result, whose `params` and `macs` are those of the plan that a training method found, where one did.
    """
    name = run_name(contestant.label, seed)
    total = study.recipe.epochs
    goal = total if until is None else min(until, total)
    checkpoint_path = checkpoint_file(study, name)
    watcher.start(name, total)
    known = known_result(study, contestant.label, seed, until=until)
    if known is not None:
        return known
    trainer, history = _ready(study, contestant, seed, checkpoint_path, goal, watcher)
    problem = ""
    try:
        while trainer.epoch < goal:
            watcher.epoch(trainer.epoch + 1, f"loss {history[-1].loss:.3f}" if history else "")
            history.append(trainer.run_epoch(watcher.step))
            _save(trainer, history, checkpoint_path)
            watcher.saved(history)
    except DivergedError as error:
        problem = str(error)
        watcher.say(f"{name}: {problem}; this run counts as failed")
    outcome = Outcome() if problem or goal < total else finished(study, trainer.methods, name)
    reached = None if problem else _tested(study, contestant, trainer, history)
    if reached is not None and not math.isfinite(reached.loss):
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
        "machine": this_machine(study.recipe.device).name,
        **cost_of(history),
    }
    if contestant.method is not None:
        result["method"] = {
            "text": contestant.method.text,
            "numbers": dict(outcome.numbers),
            "notes": list(outcome.notes),
            "plan": str(found_plan(study.out, contestant.label, seed).relative_to(study.out)) if outcome.plan else None,
        }
    write_json(result_file(study, name, goal), result)
    if goal == total:
        with suppress(FileNotFoundError):
            checkpoint_path.unlink()
    return result


def _tested(study: Study, contestant: Contestant, trainer: Trainer, history: Sequence[EpochResult]) -> Evaluation:
    """Of the test images, once: what the last epoch's test said holds, unless a method changed the module since."""
    last = history[-1]
    if last.test_accuracy is not None and not contestant.settings:
        return Evaluation(loss=math.nan if last.test_loss is None else last.test_loss, accuracy=last.test_accuracy)
    recipe = study.recipe
    return evaluate(trainer.module, study.data.test, device=recipe.device, channels_last=recipe.channels_last)


def cost_of(history: Sequence[EpochResult]) -> dict[str, float | int | None]:
    """What a run's training took: `step_ms`, the median of its epochs' medians, and `peak_bytes`, the highest.

    The first epoch counts only where there is no other: kernels choose their tilings in it, and compilers compile.
    """
    times = [epoch.step_ms for epoch in history if epoch.step_ms is not None]
    peaks = [epoch.peak_bytes for epoch in history if epoch.peak_bytes is not None]
    return {"step_ms": median(times[1:] or times) if times else None, "peak_bytes": max(peaks, default=None)}


def _ready(
    study: Study, contestant: Contestant, seed: int, checkpoint: Path, goal: int, watcher: Watcher
) -> tuple[Trainer, list[EpochResult]]:
    """The run as its checkpoint left it, or at its start."""
    trainer = _begun(study, contestant, seed)
    history = _resume(trainer, checkpoint)
    if trainer.epoch > goal:  # another schedule had trained on; what it had after `goal` epochs is gone
        trainer, history = _begun(study, contestant, seed), []
    if not history and study.checkpoint is not None:
        recalibrate(trainer.module, study.data.train, study.recipe, seed=seed)
    watcher.at(study.recipe.steps(len(study.data.train)) * trainer.epoch)
    watcher.saved(history)
    return trainer, history


def _begun(study: Study, contestant: Contestant, seed: int) -> Trainer:
    module = begin(contestant, study.build, seed, study.checkpoint)
    test = study.data.test if study.recipe.curves else None
    trainer = Trainer(module, study.recipe, study.data.train, seed=seed, test=test)
    trainer.methods = attached(study, contestant, trainer)
    return trainer


def _save(trainer: Trainer, history: Sequence[EpochResult], path: Path) -> None:
    stream = io.BytesIO()
    torch.save(trainer.state() | {"history": [epoch.to_json() for epoch in history]}, stream)
    write_bytes(path, stream.getvalue())


def _resume(trainer: Trainer, path: Path) -> list[EpochResult]:
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
