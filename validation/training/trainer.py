"""One training run, step by step: nothing in it depends on the clock or on global random state."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from validation.data.images import Images
from validation.data.stream import Stream
from validation.methods.method import Method
from validation.training.evaluation import evaluate, logits_of, loss_of, not_finite
from validation.training.pace import Pace
from validation.training.precision import autocast, compiled, scaler_of
from validation.training.recipe import EpochResult, Recipe, batches


class DivergedError(Exception):
    """Loss or weights are no numbers any more. A result of the run, not a mistake of the user."""


class Trainer:
    """A module with its optimiser and schedule, whose whole state goes into a checkpoint and comes back."""

    def __init__(
        self, module: nn.Module, recipe: Recipe, images: Images, *, seed: int, test: Images | None = None
    ) -> None:
        """`test`: images to test the module on after every epoch; that moves nothing in the training."""
        self.module = recipe.place(module)
        self.recipe, self.images, self.seed = recipe, images, seed
        self.epoch = 0
        self.methods: Sequence[Method] = ()
        self.optimizer = recipe.optimizer_of(self.module)
        self._test = test
        self._run = compiled(self.module) if recipe.compile else self.module
        self._scaler = scaler_of(recipe.amp, recipe.device)
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
            "scaler": self._scaler.state_dict() if self._scaler else {},
        }

    def load(self, state: dict[str, Any]) -> None:
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        for method, kept in zip(self.methods, state["methods"], strict=True):
            method.load_state_dict(kept)
        if self._scaler:
            self._scaler.load_state_dict(state["scaler"])
        self.epoch = int(state["epoch"])

    def run_epoch(self, on_step: Callable[[], None] = lambda: None) -> EpochResult:
        """Trains for one epoch, then tests where there are test images. `on_step` is called after every step; what it
        raises ends the epoch.

        Raises:
            DivergedError: the loss is NaN or infinite, and at which step; or weights are at the end, and which.
        """
        began = time.perf_counter()
        # Dropout and the like draw from the global generator: restarted here, a resumed run draws the same.
        torch.manual_seed(int(Stream(self.seed, self.epoch, 1).below(2**31, 1)[0]))
        self.module.train()
        total = correct = count = 0.0
        pace = Pace(self.recipe.device)
        found = batches(self.images, self.recipe, seed=self.seed, epoch=self.epoch)
        for step, (pixels, labels) in enumerate(found):
            value, right = self._step(pixels, labels, step)
            total += value * len(labels)
            correct += right
            count += len(labels)
            pace.step()
            on_step()
        if lost := not_finite(self.module):
            raise DivergedError(f"{lost} became no numbers in epoch {self.epoch + 1}")
        numbers = {name: value for method in self.methods for name, value in method.after_epoch().items()}
        self.epoch += 1
        seconds = time.perf_counter() - began
        return self._tested(
            EpochResult(
                loss=total / count,
                accuracy=correct / count,
                seconds=seconds,
                numbers=numbers,
                step_ms=pace.step_ms,
                peak_bytes=pace.peak_bytes,
            )
        )

    def _step(self, pixels: torch.Tensor, labels: torch.Tensor, step: int) -> tuple[float, float]:
        """One optimiser step: the task's loss, and how many images were classified rightly."""
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.recipe.amp, self.recipe.device):
            output = self._run(pixels)
        loss = loss_of(output, labels)
        value = loss.item()
        for penalty in (method.penalty() for method in self.methods):
            loss = loss if penalty is None else loss + penalty
        if not (math.isfinite(value) and bool(loss.isfinite())):
            worst = value if not math.isfinite(value) else loss.item()
            raise DivergedError(f"the loss became {worst} in epoch {self.epoch + 1}, step {step + 1}")
        if self._scaler is None:
            loss.backward()  # type: ignore[no-untyped-call]
        else:
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            self._scaler.unscale_(self.optimizer)  # methods see gradients at their own size
        for method in self.methods:
            method.after_backward()
        if self._scaler is None:
            self.optimizer.step()
        else:
            self._scaler.step(self.optimizer)  # leaves a step out whose gradients overflowed
            self._scaler.update()
        with warnings.catch_warnings():  # the very first float16 steps may be such ones; torch takes that for a mistake
            warnings.filterwarnings("ignore", message=r".*lr_scheduler.step\(\).* before .*optimizer.step\(\)")
            self._schedule.step()
        for method in self.methods:
            method.after_step()
        return value, float((logits_of(output)[0].detach().argmax(1) == labels).sum())

    def _tested(self, result: EpochResult) -> EpochResult:
        if self._test is None:
            return result
        began = time.perf_counter()
        found = evaluate(self.module, self._test, device=self.recipe.device, channels_last=self.recipe.channels_last)
        return replace(
            result,
            test_loss=found.loss if math.isfinite(found.loss) else None,
            test_accuracy=found.accuracy,
            test_seconds=time.perf_counter() - began,
        )
