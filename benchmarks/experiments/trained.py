"""One short training run with methods at work, for experiments that ask what a method does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from validation.data import DataSet
from validation.methods.method import Method, Outcome
from validation.training.evaluation import evaluate
from validation.training.recipe import Recipe
from validation.training.trainer import Trainer


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What came of a run."""

    accuracy: float
    outcomes: tuple[Outcome, ...]


def trained(
    module: nn.Module, data: DataSet, recipe: Recipe, *, seed: int, methods: Callable[[], Sequence[Method]]
) -> Trained:
    """Trains `module` in place and tests it. `methods` is called once the module is where it trains."""
    trainer = Trainer(module, recipe, data.train, seed=seed)
    trainer.methods = tuple(methods())
    for _ in range(recipe.epochs):
        trainer.run_epoch()
    outcomes = tuple(method.finish() for method in trainer.methods)
    for method in trainer.methods:
        method.close()
    return Trained(accuracy=evaluate(module, data.test).accuracy, outcomes=outcomes)
