"""What several networks of the zoo are made of."""

from __future__ import annotations

from torch import nn


def conv_norm_relu(
    inputs: int, outputs: int, kernel: int = 3, *, padding: int | None = None, affine: bool = True
) -> list[nn.Module]:
    """A convolution without bias, batch norm, ReLU. B inputs H W → B outputs H W; without `padding` H and W stay.

    Args:
        affine: batch norm has a scale and a shift of each channel.
    """
    around = kernel // 2 if padding is None else padding
    return [
        nn.Conv2d(inputs, outputs, kernel, padding=around, bias=False),
        nn.BatchNorm2d(outputs, affine=affine),
        nn.ReLU(),
    ]
