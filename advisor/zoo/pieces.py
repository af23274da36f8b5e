"""What several networks of the zoo are made of."""

from __future__ import annotations

from torch import nn


def conv_norm_relu(inputs: int, outputs: int, kernel: int = 3, *, padding: int | None = None) -> list[nn.Module]:
    """A convolution without bias, batch norm, ReLU. B inputs H W → B outputs H W; without `padding` H and W stay."""
    around = kernel // 2 if padding is None else padding
    return [
        nn.Conv2d(inputs, outputs, kernel, padding=around, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]
