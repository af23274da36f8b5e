"""The layer that runs beside everything, so that the machine's pace is known."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from advisor.devices.measuring.subject import layer_call


def reference_call(*, training: bool = False) -> Callable[[], object]:
    """The layer that drift is measured on: about a millisecond on one core."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return layer_call(nn.Conv2d(64, 64, 3, padding=1), torch.randn(1, 64, 28, 28), training=training)
