"""Optimisers by name, each with both ways of shrinking weights: L2 in the gradient, and decay beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from advisor.errors import AdvisorError, unknown


def _adam(parameters: list[nn.Parameter], rate: float, momentum: float, l2: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=rate, weight_decay=l2, fused=True)


def _sgd(parameters: list[nn.Parameter], rate: float, momentum: float, l2: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=rate, momentum=momentum, weight_decay=l2, nesterov=momentum > 0)


def _rmsprop(parameters: list[nn.Parameter], rate: float, momentum: float, l2: float) -> torch.optim.Optimizer:
    return torch.optim.RMSprop(parameters, lr=rate, momentum=momentum, weight_decay=l2)


OPTIMIZERS: dict[str, Callable[[list[nn.Parameter], float, float, float], torch.optim.Optimizer]] = {
    "adam": _adam,  # Kingma and Ba 2015
    "sgd": _sgd,  # with Nesterov's momentum, unless that is 0
    "rmsprop": _rmsprop,  # Hinton 2012
}
ADAMW = "adamw"  # Adam with decay beside the gradient (Loshchilov and Hutter 2019): the usual name of "adam" with it


def check_optimizer(name: str) -> None:
    """Raises AdvisorError for a name that is not known."""
    if name not in OPTIMIZERS and name != ADAMW:
        raise AdvisorError(unknown("optimizer", name, [*OPTIMIZERS, ADAMW]))


def make_optimizer(
    name: str,
    parameters: Iterable[nn.Parameter],
    rate: float,
    *,
    momentum: float = 0.9,
    l2: float = 0.0,
    weight_decay: float = 0.0,
) -> torch.optim.Optimizer:
    """An optimiser of `torch.optim`.

    Args:
        rate: learning rate; a schedule may change it later.
        momentum: of sgd and rmsprop; adam has its own two.
        l2: lambda of L2 regularisation: lambda * w joins the gradient before the optimiser sees it, which is what
            torch calls `weight_decay` in all of them but AdamW.
        weight_decay: of the decay beside the gradient: every step begins with w *= 1 - rate * weight_decay, as in
            torch's AdamW, whichever the optimiser.

    Raises:
        AdvisorError: an unknown name.
    """
    check_optimizer(name)
    kept = list(parameters)
    optimizer = OPTIMIZERS["adam" if name == ADAMW else name](kept, rate, momentum, l2)
    if weight_decay:

        @torch.no_grad()
        def decay(of: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
            for group in of.param_groups:
                factor = 1 - float(group["lr"]) * weight_decay
                torch._foreach_mul_([p for p in group["params"] if p.grad is not None], factor)

        optimizer.register_step_pre_hook(decay)
    return optimizer
