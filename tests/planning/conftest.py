"""Small networks to plan for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import advisor
from advisor.network import Network
from advisor.zoo import ZOO


class Residual(nn.Module):
    """A stem, two blocks that add to it, one of them with groups, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, padding=1)
        self.norm = nn.BatchNorm2d(32)
        self.inner = nn.Conv2d(32, 64, 3, padding=1)
        self.outer = nn.Conv2d(64, 32, 1)
        self.grouped = nn.Conv2d(32, 32, 3, padding=1, groups=2)
        self.classifier = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = x + self.outer(torch.relu(self.inner(x)))
        x = x + self.grouped(x)
        logits: Tensor = self.classifier(x.mean((2, 3)))
        return logits


@pytest.fixture(autouse=True)
def _no_kernels(no_kernels: None) -> None:
    """The same machine for all tests, whatever was built here; `with_kernels` gives it sparse kernels."""


@pytest.fixture(scope="session")
def digits() -> Network:
    """The demo's network with real (random) weights."""
    torch.manual_seed(0)
    entry = ZOO["digits_cnn"]
    return advisor.analyze(entry.build(entry.classes), entry.input_shape, name="zoo:digits_cnn")


@pytest.fixture(scope="session")
def residual() -> Network:
    torch.manual_seed(0)
    return advisor.analyze(Residual(), (2, 3, 16, 16), name="residual")


@pytest.fixture(scope="session")
def resnet18() -> Network:
    import torchvision

    with torch.device("meta"):
        model = torchvision.models.resnet18(weights=None)
    return advisor.analyze(model, (1, 3, 224, 224), name="torchvision:resnet18")
