"""The small network of the sparse experiments, its images, and one short training of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import nn

import advisor
from validation.data import DataSet, Request, load_data
from validation.methods.method import Run
from validation.training.evaluation import evaluate
from validation.training.recipe import Recipe
from validation.training.trainer import Trainer

if TYPE_CHECKING:
    from advisor.network import Network
    from advisor.plans.plan import Plan
    from validation.methods.method import Method

WIDTHS = (24, 48, 96, 96)


class Small(nn.Module):
    """Four convolutions of 3x3 with batch norm, pooling between them, and a classifier: 1 x 28 x 28 → 10."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        inputs = 1
        for outputs in widths:
            parts += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
            parts += [nn.MaxPool2d(2)] * (outputs != widths[-1] or inputs != outputs)
            inputs = outputs
        self.features = nn.Sequential(*parts)
        self.classifier = nn.Linear(inputs, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.features(images).mean((2, 3)))
        return logits


def widths_of(scale: str) -> tuple[int, ...]:
    """Channels of the network; "quick" keeps the shape and drops the size."""
    return WIDTHS if scale == "full" else (8, 16, 16, 16)


def small(scale: str, seed: int) -> Small:
    """The network with the seed's random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Small(widths_of(scale))


@cache
def images(scale: str) -> DataSet:
    """Few enough images that the networks do not all classify nearly everything."""
    train, test = (1000, 1000) if scale == "full" else (128, 64)
    return load_data("mnist5k", Request(shape=(1, 28, 28), train_size=train, test_size=test))


@cache
def analysed(scale: str) -> Network:
    return advisor.analyze(small(scale, 0), torch.zeros(1, 1, 28, 28))


def recipe(scale: str) -> Recipe:
    return Recipe(epochs=4 if scale == "full" else 2, batch=32)


def steps_of(scale: str) -> int:
    """Optimiser steps of a training."""
    return recipe(scale).epochs * recipe(scale).steps(len(images(scale).train))


def train(
    module: nn.Module, scale: str, seed: int, methods: Callable[[Trainer], Sequence[Method]] = lambda trainer: ()
) -> dict[str, float]:
    """Trains `module` in place; `methods` is called with the trainer before the first step.

    Returns:
        "accuracy" on the test images, and the last epoch's numbers of the methods.
    """
    data = images(scale)
    trainer = Trainer(module, recipe(scale), data.train, seed=seed)
    trainer.methods = methods(trainer)
    epochs = [trainer.run_epoch() for _ in range(trainer.recipe.epochs)]
    return {"accuracy": evaluate(module, data.test).accuracy} | epochs[-1].numbers


def run_of(trainer: Trainer, scale: str, seed: int, plan: Plan | None = None) -> Run:
    """What a training method is attached to."""
    train_size = len(images(scale).train)
    return Run(
        module=trainer.module,
        optimizer=trainer.optimizer,
        network=analysed(scale),
        plan=plan,
        epochs=trainer.recipe.epochs,
        steps_per_epoch=trainer.recipe.steps(train_size),
        train_size=train_size,
        seed=seed,
        sample=lambda count, batch: iter(()),
    )
