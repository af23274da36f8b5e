"""A run that a method can be attached to, without a validation around it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from advisor.network import Network
from validation.methods.method import Run


def run_of(module: nn.Module, network: Network, **changed: Any) -> Run:
    """One step of one epoch under SGD, without images to look at."""
    given: dict[str, Any] = {
        "optimizer": torch.optim.SGD(module.parameters(), lr=0.1),
        "plan": None,
        "epochs": 1,
        "steps_per_epoch": 1,
        "train_size": 8,
        "seed": 1,
        "sample": lambda count, batch: iter(()),
    }
    return Run(module=module, network=network, **given | changed)
