"""The learning-rate range of a network: one short rising sweep on the dense network, for all its plans."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from advisor.devices.settings import cpu_threads
from advisor.errors import AdvisorError
from advisor.files import read_json, write_json
from validation.contestants import begin
from validation.running.folder import SETTINGS
from validation.training.evaluation import loss_of
from validation.training.optimizers import check_optimizer
from validation.training.precision import check_compiler, check_precision
from validation.training.recipe import batches

if TYPE_CHECKING:
    from torch import nn

    from validation.data.images import Images
    from validation.running.trials import Study
    from validation.training.recipe import Recipe

FILE = "rates.json"
LOW, HIGH = 1e-5, 1.0  # of the sweep, for every optimiser
STEPS = 100
SEED = 0
SHARE = 5.0  # the rate of the least loss, divided by the peak that is taken
LEAST_FALL = 1e-3  # nats
SMOOTHING = 0.9  # weight of the past in the running mean of the loss
BLOWN_UP = 2.0  # a smoothed loss so many times the first one's ends the sweep


@dataclass(frozen=True, slots=True, kw_only=True)
class RateRange:
    """A sweep of rates and what it says.

    Attributes:
        peak: rate to use as the highest of a one-cycle schedule.
        rates: of each step, rising.
        losses: running mean of the training loss beside each rate, nats; as many as steps were taken.
        blown_up: the rate at which the loss blew up or became no number; None where it never did.
    """

    peak: float
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    blown_up: float | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"rates": list(self.rates), "losses": list(self.losses)}


def sweep(
    module: nn.Module,
    images: Images,
    recipe: Recipe,
    *,
    seed: int = 0,
    low: float = LOW,
    high: float = HIGH,
    steps: int = STEPS,
) -> RateRange:
    """The learning-rate range test (Smith 2017, "Cyclical Learning Rates", section 3.3), with rates in geometric steps.

    rate[k] = low (high / low)^(k / (steps - 1)). Trains `module` in place for up to `steps` steps; the time of
    `steps` training steps, once for a network, in float32 whatever the recipe's precision.

    Raises:
        AdvisorError: the loss falls at no rate, so that the sweep says nothing.
    """
    module = recipe.place(module).train()
    optimizer = recipe.optimizer_of(module, low)
    rates = [low * (high / low) ** (step / (steps - 1)) for step in range(steps)]
    losses: list[float] = []
    mean, blown_up = 0.0, None
    torch.manual_seed(seed)  # dropout and the like
    for step, (pixels, labels) in zip(range(steps), _endless(images, recipe, seed), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = rates[step]
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(module(pixels), labels)
        value = loss.item()
        mean = SMOOTHING * mean + (1 - SMOOTHING) * value
        smooth = mean / (1 - SMOOTHING ** (step + 1))
        if not math.isfinite(smooth) or (losses and smooth > BLOWN_UP * losses[0]):
            blown_up = rates[step]
            break
        losses.append(smooth)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    if not losses or losses[0] - min(losses) < LEAST_FALL:
        raise AdvisorError(
            f"rate=auto: the dense network's loss falls at no learning rate between {low:g} and {high:g} "
            f"within {steps} steps; give a number with --rate, or leave it out"
        )
    return RateRange(
        peak=suggested(rates, losses), rates=tuple(rates[: len(losses)]), losses=tuple(losses), blown_up=blown_up
    )


def check_training(recipe: Recipe, device: str, *, rate: str = "fixed", halving: int | None = None) -> None:
    """Refuses what cannot be trained here before anything long begins.

    Raises:
        AdvisorError: an optimiser, rate, precision or factor that makes no sense.
        DeviceError: what this machine cannot do.
    """
    check_optimizer(recipe.optimizer)
    _peak(rate)
    if halving is not None and halving < 2:
        raise AdvisorError(f"halving={halving}, expected 2 or more: one plan of so many goes on at each rung")
    check_precision(recipe.amp, device)
    if recipe.compile:
        check_compiler(device)


def _peak(asked: str) -> float | None:
    """The number that was asked for; None for "fixed" and "auto"."""
    if asked in ("fixed", "auto"):
        return None
    try:
        value = float(asked)
    except ValueError:
        value = math.nan
    if not 0 < value < 1e3:
        raise AdvisorError(f"rate={asked[:40]!r}, expected fixed, auto, or a number above 0 such as 0.003")
    return value


def with_rate(study: Study, asked: str) -> tuple[Study, RateRange | None]:
    """The study with its peak rate: one for the dense network and all plans, so that none is tuned more than another.

    Args:
        study: with the peak rate that is usual for it.
        asked: "fixed" leaves it; "auto" takes what a sweep on the dense network of seed 0 says, and keeps the sweep in
            the study's folder for later calls; a number is the rate.

    Returns:
        The study, and the sweep where there was one.
    """
    peak = _peak(asked)
    if peak is not None:
        return replace(study, rate="given", recipe=replace(study.recipe, peak_rate=peak)), None
    if asked == "fixed":
        return study, None
    apart = ("peak_rate", "rate", "epochs", "halving")  # what the sweep does not depend on
    wanted = {key: value for key, value in study.settings().items() if key not in apart}
    path = study.out / FILE
    # Runs under other settings are refused by name of what differs (`open_folder`); their sweep stays what it was.
    found = _kept(path, None if (study.out / SETTINGS).exists() else wanted)
    if found is None:
        contestant = study.contestants[0]
        with cpu_threads(study.threads_in_force):
            module = begin(contestant, study.build, SEED, study.checkpoint)
            found = sweep(module, study.data.train, study.recipe, seed=SEED)
        write_json(path, {"of": wanted} | found.to_json())
    return replace(study, rate="auto", recipe=replace(study.recipe, peak_rate=found.peak)), found


def _kept(path: Path, wanted: Mapping[str, Any] | None) -> RateRange | None:
    """The sweep of an earlier call, under the settings `wanted` or whichever."""
    if not path.exists():
        return None
    held = read_json(path)
    try:
        if wanted is not None and held["of"] != wanted:
            return None
        blown_up = held["blown_up"]
        return RateRange(
            peak=float(held["peak"]),
            rates=tuple(float(rate) for rate in held["rates"]),
            losses=tuple(float(loss) for loss in held["losses"]),
            blown_up=None if blown_up is None else float(blown_up),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise AdvisorError(f"{path} is no sweep of learning rates; delete it to sweep anew") from error


def suggested(rates: Sequence[float], losses: Sequence[float]) -> float:
    """A fifth of the rate at which the smoothed loss is least.

    The rate of the least loss is beyond the best one: the loss still falls there from the steps before, and its running
    mean lags behind. On the embedded data the best peak of a grid was 1/7.6 to 1/2.4 of it, 1/4.9 in the geometric mean
    over five pairs of network and optimiser (benchmarks/rates.py).
    """
    best = min(range(len(losses)), key=losses.__getitem__)
    return rates[best] / SHARE


def _endless(images: Images, recipe: Recipe, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for epoch in count():
        yield from batches(images, recipe, seed=seed, epoch=epoch)
