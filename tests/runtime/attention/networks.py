"""Small networks with attention over image tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import advisor
from advisor.network import Network


class Patches(nn.Module):
    """Patches of 2x2, one block of attention and a hidden layer, mean, linear. B 3 H W → B 5."""

    def __init__(self, channels: int = 16, *, batch_first: bool = True, class_token: bool = False) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, channels, 2, 2)
        self.norm = nn.LayerNorm(channels)
        self.attention = nn.MultiheadAttention(channels, 2, batch_first=batch_first)
        self.mlp = nn.Sequential(nn.Linear(channels, 32), nn.GELU(), nn.Linear(32, channels))
        self.head = nn.Linear(channels, 5)
        self.token = nn.Parameter(torch.randn(1, 1, channels)) if class_token else None

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        if self.token is not None:
            tokens = torch.cat((self.token.expand(len(x), -1, -1), tokens), 1)
        y = self.norm(tokens)
        if not self.attention.batch_first:
            y = y.transpose(0, 1)
        mixed = self.attention(y, y, y, need_weights=False)[0]
        tokens = tokens + (mixed if self.attention.batch_first else mixed.transpose(0, 1))
        out: Tensor = self.head((tokens + self.mlp(tokens)).mean(1))
        return out


def patches(size: int = 32, **options: bool) -> tuple[Patches, Network]:
    """The network with fixed weights, and its analysis for one image of that size."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Patches(**options)
    return module, advisor.analyze(module, (torch.zeros(1, 3, size, size),), name="patches")


def factory() -> tuple[Patches, tuple[int, ...]]:
    """The network for the command line: with its example input's shape."""
    return Patches(), (1, 3, 32, 32)
