"""Small networks with memory that can be counted by hand."""

from __future__ import annotations

import torch
from torch import nn


def mlp(*, inplace: bool = False) -> nn.Sequential:
    """10 → 20 → 5: 325 parameters."""
    return nn.Sequential(nn.Linear(10, 20), nn.ReLU(inplace=inplace), nn.Linear(20, 5))


class Residual(nn.Module):
    """x + relu(relu(x W) V): x is kept until the end."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 16, bias=False), nn.Linear(16, 16, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = torch.tanh(x)
        y = torch.relu(self.first(kept))
        y = torch.relu(self.second(y))
        return kept + y


class Convolutions(nn.Module):
    """Batch norm, a strided and a depthwise convolution, pooling, a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
        self.deep = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.SiLU(), nn.Conv2d(16, 24, 1))
        self.pool, self.head = nn.MaxPool2d(2), nn.Linear(40, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = torch.cat([x, self.deep(x)], 1)
        return self.head(self.pool(x).mean((2, 3)))


class Attention(nn.Module):
    """One encoder layer and its embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 32)
        self.layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1, batch_first=True, activation="gelu")

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layer(self.embed(tokens))
        return out


class Chooses(nn.Module):
    """Goes its way by its numbers."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.sum().item() > 0 else x
