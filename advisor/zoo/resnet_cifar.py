"""Residual networks for images of 32x32 (He et al. 2016, section 4.2)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from advisor.zoo.registry import register_network


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm. B inputs H W → B outputs H/s W/s, s = 2 where channels double.

    The identity has no parameters (He et al. 2016, option A): every second pixel, and zeros for the new channels.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.stride = 1 if inputs == outputs else 2
        self.added = outputs - inputs
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=self.stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        if self.added:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.added))
        return (found + x).relu()


class CifarResNet(nn.Module):
    """ResNet of 6 n + 2 layers: n blocks each with 16, 32 and 64 channels. B 3 32 32 → B classes."""

    def __init__(self, blocks: int, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        widths = [16 * 2**stage for stage in range(3) for _ in range(blocks)]
        pairs = zip([16, *widths], widths, strict=False)
        self.blocks = nn.Sequential(*(ResidualBlock(inputs, outputs) for inputs, outputs in pairs))
        self.classifier = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        features = self.blocks(self.bn1(self.conv1(x)).relu())
        logits: Tensor = self.classifier(features.mean((2, 3)))
        return logits


@register_network("resnet20", input_shape=(1, 3, 32, 32), classes=10)
def resnet20(classes: int) -> nn.Module:
    return CifarResNet(3, classes)


@register_network("resnet56", input_shape=(1, 3, 32, 32), classes=10)
def resnet56(classes: int) -> nn.Module:
    return CifarResNet(9, classes)
