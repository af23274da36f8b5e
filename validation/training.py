"""One training run, step by step: nothing in it depends on the clock or on global random state."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from advisor.errors import DataError
from validation.data.images import Images
from validation.data.stream import Stream
from validation.methods.method import Method
from validation.optimizers import make_optimizer

AUXILIARY = 0.4  # weight of auxiliary heads in training (Szegedy et al. 2015, GoogLeNet and Inception)
SCRATCH_RATE, FINETUNE_RATE = 1e-2, 3e-3  # peaks of the one-cycle schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How every run of a validation trains, under a one-cycle rate (Smith 2018). Decays: see `make_optimizer`."""

    epochs: int = 4
    batch: int = 64
    peak_rate: float = SCRATCH_RATE
    device: str = "cpu"
    optimizer: str = "adam"
    momentum: float = 0.9
    l2: float = 0.0
    weight_decay: float = 0.0

    def steps(self, images: int) -> int:
        """Optimiser steps in one epoch; the images that do not fill a last batch wait for another epoch's order."""
        return max(images // self.batch, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochResult:
    """What one epoch did. `loss` and `accuracy` are of the training images, seen while the weights moved.

    Attributes:
        numbers: what training methods say of the epoch.
    """

    loss: float
    accuracy: float
    seconds: float
    numbers: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Of the test images; `loss` is the mean cross-entropy in nats."""

    loss: float
    accuracy: float


class DivergedError(Exception):
    """The training loss is no number any more. A result of the run, not a mistake of the user."""


def batches(images: Images, recipe: Recipe, *, seed: int, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The batches of one epoch: the same for every plan, a function of (seed, epoch) alone."""
    order = torch.from_numpy(Stream(seed, epoch).order(len(images)))
    for step in range(recipe.steps(len(images))):
        pixels, labels = images.batch(order[step * recipe.batch : (step + 1) * recipe.batch])
        yield placed(pixels, recipe.device), labels.to(recipe.device)


def placed(pixels: torch.Tensor, device: str) -> torch.Tensor:
    """Channels last: a step of the demo's network took 0.73 of the time (AVX2 CPU, 1 and 2 threads, interleaved)."""
    return pixels.to(device).contiguous(memory_format=torch.channels_last)


class Trainer:
    """A module with its optimiser and schedule, whose whole state goes into a checkpoint and comes back."""

    def __init__(self, module: nn.Module, recipe: Recipe, images: Images, *, seed: int) -> None:
        self.module = module.to(recipe.device).to(memory_format=torch.channels_last)
        self.recipe, self.images, self.seed = recipe, images, seed
        self.epoch = 0
        self.methods: Sequence[Method] = ()
        parameters = [p for p in self.module.parameters() if p.requires_grad]
        self.optimizer = make_optimizer(
            recipe.optimizer,
            parameters,
            recipe.peak_rate,
            momentum=recipe.momentum,
            l2=recipe.l2,
            weight_decay=recipe.weight_decay,
        )
        # One step more than there are: OneCycleLR ends at 1/250,000 of the peak, a step that moves nothing.
        total = recipe.epochs * recipe.steps(len(images)) + 1
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, recipe.peak_rate, total_steps=total, cycle_momentum="betas" in self.optimizer.defaults
        )

    def state(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "methods": [method.state_dict() for method in self.methods],
        }

    def load(self, state: dict[str, Any]) -> None:
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        for method, kept in zip(self.methods, state["methods"], strict=True):
            method.load_state_dict(kept)
        self.epoch = int(state["epoch"])

    def run_epoch(self, on_step: Callable[[], None] = lambda: None) -> EpochResult:
        """Trains for one epoch. `on_step` is called after every step; what it raises ends the epoch.

        Raises:
            DivergedError: the loss is NaN or infinite; says at which step.
        """
        began = time.perf_counter()
        # Dropout and the like draw from the global generator: restarted here, a resumed run draws the same.
        torch.manual_seed(int(Stream(self.seed, self.epoch, 1).below(2**31, 1)[0]))
        self.module.train()
        total = correct = count = 0.0
        found = batches(self.images, self.recipe, seed=self.seed, epoch=self.epoch)
        for step, (pixels, labels) in enumerate(found):
            self.optimizer.zero_grad(set_to_none=True)
            output = self.module(pixels)
            loss = _loss(output, labels)
            value = loss.item()
            for penalty in (method.penalty() for method in self.methods):
                loss = loss if penalty is None else loss + penalty
            if not (math.isfinite(value) and bool(loss.isfinite())):
                worst = value if not math.isfinite(value) else loss.item()
                raise DivergedError(f"the loss became {worst} in epoch {self.epoch + 1}, step {step + 1}")
            loss.backward()  # type: ignore[no-untyped-call]
            for method in self.methods:
                method.after_backward()
            self.optimizer.step()
            self._schedule.step()
            for method in self.methods:
                method.after_step()
            total += value * len(labels)
            correct += float((logits_of(output)[0].detach().argmax(1) == labels).sum())
            count += len(labels)
            on_step()
        numbers = {name: value for method in self.methods for name, value in method.after_epoch().items()}
        self.epoch += 1
        seconds = time.perf_counter() - began
        return EpochResult(loss=total / count, accuracy=correct / count, seconds=seconds, numbers=numbers)


def logits_of(output: Any) -> tuple[torch.Tensor, ...]:
    """Logits `B classes` of the main head, then of auxiliary ones (Inception and GoogLeNet give tuples).

    Raises:
        DataError: the network gives something else, so it is no classifier of images.
    """
    found = tuple(output) if isinstance(output, tuple) else (output,)
    heads = tuple(item for item in found if isinstance(item, torch.Tensor))
    if not heads or heads[0].ndim != 2:
        got = f"a tensor of {heads[0].ndim} axes" if heads else type(output).__name__
        raise DataError(
            f"the network's output is {got}; validate trains classifiers, expected logits of 2 axes (batch, classes)"
        )
    return tuple(head for head in heads if head.ndim == 2)


def _loss(output: Any, labels: torch.Tensor) -> torch.Tensor:
    main, *others = logits_of(output)
    loss = F.cross_entropy(main, labels)
    for other in others:
        loss = loss + AUXILIARY * F.cross_entropy(other, labels)
    return loss


def evaluate(module: nn.Module, images: Images, *, device: str = "cpu", batch: int = 250) -> Evaluation:
    """Accuracy and loss in evaluation mode. A network whose outputs are NaN is wrong everywhere."""
    module.eval()
    total = correct = 0.0
    with torch.inference_mode():
        for start in range(0, len(images), batch):
            pixels, labels = images.batch(torch.arange(start, min(start + batch, len(images))))
            labels = labels.to(device)
            logits = logits_of(module(placed(pixels, device)))[0]
            total += float(F.cross_entropy(logits, labels, reduction="sum"))
            correct += float(((logits.argmax(1) == labels) & logits.isfinite().all(1)).sum())
    return Evaluation(loss=total / len(images), accuracy=correct / len(images))


def recalibrate(module: nn.Module, images: Images, recipe: Recipe, *, seed: int, limit: int = 32) -> int:
    """Measures batch norm's statistics anew, which thinned weights have moved, on up to `limit` training batches.

    Returns:
        How many batch norms there are; everything else stays in evaluation mode and unchanged.
    """
    norms = [child for child in module.modules() if isinstance(child, _BatchNorm) and child.running_mean is not None]
    if not norms:
        return 0
    module.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average over all batches
        norm.train()
    with torch.no_grad():
        for step, (pixels, _) in enumerate(batches(images, recipe, seed=seed, epoch=0)):
            if step == limit:
                break
            module(pixels)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return len(norms)
