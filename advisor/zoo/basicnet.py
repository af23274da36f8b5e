"""BasicNet (Mehta et al. 2019): the network in which implicit filter sparsity was studied."""

from __future__ import annotations

from torch import nn

from advisor.zoo.pieces import conv_norm_relu
from advisor.zoo.registry import register_network

_WIDTHS = (64, 128, 128, 256, 256, 512, 512)
_POOLED = (1, 3, 5)  # pooling by 2 after these, counted from 1


@register_network("basicnet", input_shape=(1, 3, 32, 32), classes=10)
def basicnet(classes: int) -> nn.Module:
    """Seven convolutions with batch norm and ReLU, 1856 filters in all. B 3 H W → B classes, H and W at least 8.

    Theirs: seven convolutions C1 to C7 with batch norm and ReLU and a linear head. Ours, since the text at hand
    does not say: 3x3 kernels, pooling after C1, C3 and C5, and the mean over the last map.
    """
    layers: list[nn.Module] = []
    inputs = 3
    for position, outputs in enumerate(_WIDTHS, start=1):
        layers += conv_norm_relu(inputs, outputs)
        if position in _POOLED:
            layers.append(nn.MaxPool2d(2))
        inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))
