"""The network of the demo, small enough to train in seconds."""

from __future__ import annotations

from torch import Tensor, nn

from advisor.zoo.registry import register_network


def _block(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


class DigitsCNN(nn.Module):
    """Four 3x3 convolutions with batch norm and ReLU, pooling between, global average, linear. B 1 H W → B classes."""

    def __init__(self, classes: int = 10, widths: tuple[int, int, int, int] = (32, 64, 128, 128)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 1
        for depth, outputs in enumerate(widths):
            layers += _block(inputs, outputs)
            if depth < len(widths) - 1:
                layers.append(nn.MaxPool2d(2))
            inputs = outputs
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return logits


@register_network("digits_cnn", input_shape=(1, 1, 40, 40), classes=10)
def digits_cnn(classes: int) -> nn.Module:
    return DigitsCNN(classes)


@register_network("digits_cnn_wide", input_shape=(1, 1, 32, 32), classes=10)
def digits_cnn_wide(classes: int) -> nn.Module:
    return DigitsCNN(classes, widths=(128, 256, 512, 512))
