"""The networks that are trained: small enough for hundreds of runs on a CPU, unlike each other in shape."""

from __future__ import annotations

from torch import Tensor, nn

from advisor.network import Shape

SIDE = 28


def _normed(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False), nn.BatchNorm2d(outputs)
    )


class Plain(nn.Module):
    """Six 3x3 convolutions in a row, pooling after the first, third and fifth. B 1 28 28 → B 10."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 1
        for depth, outputs in enumerate((16, 32, 32, 64, 64, 64)):
            layers += [_normed(inputs, outputs, 3), nn.ReLU(), *([nn.MaxPool2d(2)] if depth % 2 == 0 else [])]
            inputs = outputs
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(inputs, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return logits


def plain() -> tuple[nn.Module, Shape]:
    """Convolutions that nothing couples but their order."""
    return Plain(), (1, 1, SIDE, SIDE)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 with a shortcut (He et al. 2015), widths `outputs / 2` inside."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        inner = outputs // 2
        self.reduce = _normed(inputs, inner, 1)
        self.filter = _normed(inner, inner, 3, stride)
        self.expand = _normed(inner, outputs, 1)
        self.shortcut = _normed(inputs, outputs, 1, stride) if stride > 1 or inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.filter(self.reduce(x).relu()).relu()
        out: Tensor = (self.expand(y) + self.shortcut(x)).relu()
        return out


class Residual(nn.Module):
    """A stem of stride 2 and four bottlenecks at two sizes. B 1 28 28 → B 10."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _normed(1, 32, 3, 2)
        shapes = ((32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1))
        self.blocks = nn.Sequential(*(Bottleneck(*shape) for shape in shapes))
        self.classifier = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.blocks(self.stem(x).relu()).mean((2, 3)))
        return logits


def residual() -> tuple[nn.Module, Shape]:
    """Fifteen convolutions, most of them 1x1, coupled by additions."""
    return Residual(), (1, 1, SIDE, SIDE)


class Strided(nn.Module):
    """Four 3x3 convolutions, the first of stride 2, pooling after the second. B 1 28 28 → B 10."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _normed(1, 16, 3, stride=2), nn.ReLU(), _normed(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
            _normed(32, 32, 3), nn.ReLU(), _normed(32, 64, 3), nn.ReLU(),
        )  # fmt: skip
        self.classifier = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return logits


def strided() -> tuple[nn.Module, Shape]:
    """The cheapest: for runs of many epochs."""
    return Strided(), (1, 1, SIDE, SIDE)
