"""What a user asks of a validation, and the command that asks the same again."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from validation.engines import HERE, EngineOptions
from validation.training.recipe import Recipe

if TYPE_CHECKING:
    from advisor.devices.profile import Profile
    from advisor.plans.plan import Plan
    from validation.methods.registry import Applied


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsWish:
    """What is asked of training runs, whatever they are for: which network, on what, how, and where.

    Attributes:
        responses: a collection of runs that these are added to.
        recipe: how to train; epochs, device and rate are the wish's own.
        rate: the peak rate: see `validation.training.rates.with_rate`.
        engine: where runs happen.
    """

    model: str
    out: Path
    data: str | None = None
    epochs: int = 4
    seeds: int = 2
    checkpoint: Path | None = None
    profile: Profile | None = None
    profile_name: str | None = None
    train_size: int | None = None
    test_size: int | None = None
    folder: Path | None = None
    download: bool = False
    device: str = "cpu"
    threads: int | None = None
    restart: bool = False
    responses: Path | None = None
    recipe: Recipe = field(default_factory=Recipe)
    rate: str = "fixed"
    tensorboard: bool = False
    engine: EngineOptions = HERE


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish(RunsWish):
    """What the user asks of a validation. `halving`: successive halving's factor."""

    plan: Plan
    plan_path: str = "plan.json"
    baselines: tuple[str, ...] = ("width", "uniform", "erk")
    methods: tuple[Applied, ...] = ()
    halving: int | None = None

    @property
    def command(self) -> str:
        """The same again, as a user would type it."""
        words = ["advisor", "validate", self.model, "--plan", self.plan_path]
        for option, value in (
            ("--data", self.data),
            ("--epochs", self.epochs),
            ("--seeds", self.seeds),
            ("--baselines", ",".join(self.baselines)),
            ("--from", self.checkpoint),
            ("--profile", self.profile_name),
            ("--train-size", self.train_size),
            ("--test-size", self.test_size),
            ("--data-dir", self.folder),
            ("--responses", self.responses),
            ("--device", self.device if self.device != "cpu" else None),
            ("--threads", self.threads),
            *recipe_options(self.recipe),
            ("--rate", self.rate if self.rate != "fixed" else None),
            ("--halving", self.halving),
            *(("--method", one.text) for one in self.methods),
            ("--tensorboard", self.tensorboard or None),
            *self.engine.words(),
            ("--out", self.out),
        ):
            if value is not None:
                words += [option] if value is True else [option, str(value)]
        return shlex.join(words)


def recipe_options(recipe: Recipe) -> list[tuple[str, Any]]:
    """The options of the command line that ask for this recipe, where it is not the usual one."""
    usual = Recipe()
    found: list[tuple[str, Any]] = []
    for key in ("optimizer", "momentum", "l2", "weight_decay", "amp", "channels_last", "compile", "curves"):
        value, option = getattr(recipe, key), key.replace("_", "-")
        if value != getattr(usual, key):
            found.append((f"--no-{option}", True) if value is False else (f"--{option}", value))
    return found
