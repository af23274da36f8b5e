"""One inference or one step of training: the very code that is followed on fake tensors and measured on real ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import nn

from advisor.devices.measuring.subject import forward_call, training_call
from advisor.errors import ProfileError, unknown

OptimizerName = Literal["sgd", "sgd_momentum", "adam"]
OPTIMIZERS: tuple[str, ...] = get_args(OptimizerName)


def check_optimizer(name: str | None) -> None:
    """Raises ProfileError for an optimiser whose state is not known."""
    if name is not None and name not in OPTIMIZERS:
        raise ProfileError(unknown("optimizer", str(name), OPTIMIZERS))


def optimizer_of(module: nn.Module, name: str | None, device: str) -> torch.optim.Optimizer | None:
    """The optimiser of that name; None for None, or where nothing trains.

    Its step runs as torch runs it by default: one tensor after the other on the CPU, all at once on CUDA, where
    temporary tensors of all parameters exist together.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    if name is None or not parameters:
        return None
    together = device.startswith("cuda")
    # A rate of almost nothing: random weights must not run away between two measured steps.
    if name == "adam":
        return torch.optim.Adam(parameters, lr=1e-9, foreach=together)
    return torch.optim.SGD(parameters, lr=1e-9, momentum=0.9 if name == "sgd_momentum" else 0.0, foreach=together)


class Step:
    """Runs the network once; when training, forward, backward and the optimiser. Old gradients go first."""

    def __init__(
        self, module: nn.Module, inputs: tuple[Any, ...], *, training: bool, optimizer: str | None, device: str
    ) -> None:
        check_optimizer(optimizer)
        module.train(training)
        self.optimizer = optimizer_of(module, optimizer, device) if training else None
        make: Callable[..., Callable[[], object]] = training_call if training else forward_call
        self._call = make(module, inputs)

    def __call__(self) -> object:
        """What the network returned, or the loss; the caller drops it."""
        result = self._call()
        if self.optimizer is not None:
            self.optimizer.step()
        return result
