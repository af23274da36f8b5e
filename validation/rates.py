"""The learning-rate range of a network: one short rising sweep on the dense network, for all its plans."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import torch

from validation.training import batches, loss_of

if TYPE_CHECKING:
    from torch import nn

    from validation.data.images import Images
    from validation.training import Recipe

FILE = "rates.json"
LOW, HIGH = 1e-5, 1.0  # of the sweep, for every optimiser
STEPS = 100
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
    `steps` training steps, once for a network.

    Raises:
        AdvisorError: the loss never falls, so that the sweep says nothing.
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
    return RateRange(
        peak=suggested(rates, losses), rates=tuple(rates[: len(losses)]), losses=tuple(losses), blown_up=blown_up
    )


def suggested(rates: Sequence[float], losses: Sequence[float]) -> float:
    raise NotImplementedError


def _endless(images: Images, recipe: Recipe, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for epoch in count():
        yield from batches(images, recipe, seed=seed, epoch=epoch)
