"""Wide residual networks for images of 32x32 (Zagoruyko and Komodakis 2016)."""

from __future__ import annotations

from torch import Tensor, nn

from advisor.zoo.registry import register_network


class WideBlock(nn.Module):
    """Batch norm and ReLU before each of two 3x3 convolutions, dropout between. B inputs H W → B outputs H/s W/s.

    Where the shape changes, a 1x1 convolution of the activated input takes the place of the identity.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        activated = self.bn1(x).relu()
        skipped: Tensor = x if self.shortcut is None else self.shortcut(activated)
        found: Tensor = self.conv2(self.dropout(self.bn2(self.conv1(activated)).relu()))
        return skipped + found


class WideResNet(nn.Module):
    """WRN-depth-factor: three stages of (depth - 4) / 6 blocks, 16 x factor to 64 x factor channels.

    B 3 32 32 → B classes. Dropout of 0.3 as in Bui et al. 2021.
    """

    def __init__(self, depth: int, factor: int, classes: int = 10, *, dropout: float = 0.3) -> None:
        super().__init__()
        blocks = (depth - 4) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        inputs = 16
        stages: list[nn.Module] = []
        for stage in range(3):
            outputs = 16 * 2**stage * factor
            members = []
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                members.append(WideBlock(inputs, outputs, stride, dropout))
                inputs = outputs
            stages.append(nn.Sequential(*members))
        self.stages = nn.Sequential(*stages)
        self.bn = nn.BatchNorm2d(inputs)
        self.classifier = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        features = self.bn(self.stages(self.conv1(x))).relu()
        logits: Tensor = self.classifier(features.mean((2, 3)))
        return logits


@register_network("wrn_28_10", input_shape=(1, 3, 32, 32), classes=10)
def wrn_28_10(classes: int) -> nn.Module:
    """WRN-28-10: 36 479 194 parameters for 10 classes, 36 536 884 for 100."""
    return WideResNet(28, 10, classes)


@register_network("wrn_16_8", input_shape=(1, 3, 32, 32), classes=10)
def wrn_16_8(classes: int) -> nn.Module:
    """WRN-16-8: 10 961 370 parameters for 10 classes, 11 007 540 for 100."""
    return WideResNet(16, 8, classes)
