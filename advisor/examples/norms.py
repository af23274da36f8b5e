"""Statistics of batch norm: whether they were ever measured, and measuring them anew."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def tracked(module: nn.Module) -> list[_BatchNorm]:
    """The batch norms that keep running statistics."""
    return [child for child in module.modules() if isinstance(child, _BatchNorm) and child.running_mean is not None]


def are_fresh(module: nn.Module) -> bool:
    """Whether there are running statistics, and all of them are what they are before any training: 0 and 1.

    The count of batches says less: older checkpoints leave it at 0.
    """
    norms = tracked(module)
    return bool(norms) and all(_all_are(n.running_mean, 0.0) and _all_are(n.running_var, 1.0) for n in norms)


def _all_are(values: torch.Tensor | None, value: float) -> bool:
    return values is not None and bool(torch.eq(values, value).all())


@torch.no_grad()
def measure_norms(module: nn.Module, passes: Callable[[], None]) -> int:
    """Replaces running statistics by their plain averages over the batches that `passes` runs through the module.

    Everything else stays in evaluation mode and unchanged.

    Returns:
        How many batch norms there are; without any, nothing is run.
    """
    norms = tracked(module)
    if not norms:
        return 0
    module.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average
        norm.train()
    try:
        passes()
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
    return len(norms)


def by_batch(module: nn.Module) -> None:
    """Lets every batch norm use the statistics of the batch at hand, and update none, whatever mode the rest is in."""
    for norm in tracked(module):
        norm.track_running_stats = False
        norm.train()
