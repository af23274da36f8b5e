"""Small networks, and data for them, that saliencies are tried on."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

import advisor
from advisor.examples import Given
from advisor.examples.batches import calibration
from advisor.network import Network


class Mixed(nn.Module):
    """Batch norm, groups, depthwise, a transposed convolution, and one module that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.twice = nn.Conv2d(8, 8, 1)
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=2, groups=2)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(self.depthwise(torch.relu(self.grouped(x)))) + x
        x = torch.relu(self.twice(torch.relu(self.twice(x))))
        logits: Tensor = self.head(self.drop(torch.relu(self.up(x)).mean((2, 3))))
        return logits


class Attends(nn.Module):
    """Attention with projections that other modules use, layer norm and GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 8)
        self.norm = nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(torch.nn.functional.gelu(self.embed(x)))
        x = x + self.attention(x, x, x, need_weights=False)[0]
        logits: Tensor = self.head(x.mean(1))
        return logits


def mixed() -> Network:
    torch.manual_seed(0)
    return advisor.analyze(Mixed(), (2, 2, 6, 6), name="mixed")


def attends() -> Network:
    torch.manual_seed(0)
    return advisor.analyze(Attends(), (2, 5, 4), name="attends")


def chain(*sizes: int, bias: bool = True, activation: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    """Linear layers with an activation between them, in float64."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs, bias=bias), activation()]
    return nn.Sequential(*layers[:-1]).double()


def labelled(*shape: int, classes: int = 3, parts: tuple[int, ...] = (5, 3)) -> Given:
    """Batches of these sizes."""
    generator = torch.Generator().manual_seed(1)
    batches = [
        (
            torch.randn(count, *shape, generator=generator),
            torch.randint(classes, (count,), generator=generator),
        )
        for count in parts
    ]
    return Given(calibration=calibration(batches), seed=3)
