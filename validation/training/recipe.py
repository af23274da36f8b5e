"""How runs train, what an epoch says of itself, and the batches that every plan sees alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn

from validation.data.images import Images
from validation.data.stream import Stream
from validation.training.optimizers import make_optimizer

SCRATCH_RATE, FINETUNE_RATE = 1e-2, 3e-3  # peaks of the one-cycle schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How every run of a validation trains, under a one-cycle rate (Smith 2018). Decays: see `make_optimizer`.

    Attributes:
        amp: "bf16" or "fp16": training's forward passes in mixed precision; weights, optimiser and tests stay float32.
        channels_last: order of axes of images and weights in memory.
        compile: train the module that torch.compile makes.
        curves: test after every epoch; the numbers of the training are the same without.
    """

    epochs: int = 4
    batch: int = 64
    peak_rate: float = SCRATCH_RATE
    device: str = "cpu"
    optimizer: str = "adam"
    momentum: float = 0.9
    l2: float = 0.0
    weight_decay: float = 0.0
    amp: str = "none"
    channels_last: bool = True
    compile: bool = False
    curves: bool = True

    def optimizer_of(self, module: nn.Module, rate: float | None = None) -> torch.optim.Optimizer:
        """The optimiser of `module`'s trainable parameters, at `rate` or the peak rate."""
        parameters = [p for p in module.parameters() if p.requires_grad]
        return make_optimizer(
            self.optimizer,
            parameters,
            self.peak_rate if rate is None else rate,
            momentum=self.momentum,
            l2=self.l2,
            weight_decay=self.weight_decay,
        )

    def place(self, module: nn.Module) -> nn.Module:
        """`module` on the recipe's device, its axes in the recipe's order."""
        order = torch.channels_last if self.channels_last else torch.contiguous_format
        return module.to(self.device).to(memory_format=order)

    def steps(self, images: int) -> int:
        """Optimiser steps in one epoch; the images that do not fill a last batch wait for another epoch's order."""
        return max(images // self.batch, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochResult:
    """What one epoch did. `loss` and `accuracy` are of the training images, seen while the weights moved.

    Attributes:
        seconds: of training; the test afterwards is not in them.
        numbers: what training methods say of the epoch.
        step_ms, peak_bytes: see `Pace`.
        test_loss, test_accuracy: of the test images after the epoch; None where nobody tested.
        test_seconds: what the test took.
    """

    loss: float
    accuracy: float
    seconds: float
    numbers: dict[str, float] = field(default_factory=dict)
    step_ms: float | None = None
    peak_bytes: int | None = None
    test_loss: float | None = None
    test_accuracy: float | None = None
    test_seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def batches(images: Images, recipe: Recipe, *, seed: int, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The batches of one epoch: the same for every plan, a function of (seed, epoch) alone."""
    order = torch.from_numpy(Stream(seed, epoch).order(len(images)))
    for step in range(recipe.steps(len(images))):
        pixels, labels = images.batch(order[step * recipe.batch : (step + 1) * recipe.batch])
        yield placed(pixels, recipe.device, channels_last=recipe.channels_last), labels.to(recipe.device)


def placed(pixels: torch.Tensor, device: str, *, channels_last: bool = True) -> torch.Tensor:
    """Channels last: a step of the demo's network took 0.73 of the time (AVX2 CPU, 1 and 2 threads, interleaved)."""
    order = torch.channels_last if channels_last else torch.contiguous_format
    return pixels.to(device).contiguous(memory_format=order)
