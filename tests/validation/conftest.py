"""A network and a plan small enough to train in a blink."""

from pathlib import Path

import pytest
import torch

import advisor
from advisor.network import Network
from advisor.plans.plan import Plan

TINY = """
import torch
from torch import nn


class Tiny(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.one = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.two = nn.Conv2d(8, 16, 3, padding=1)
        self.drop = nn.Dropout(0.1)
        self.three = nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Linear(16, classes)

    def forward(self, x):
        x = self.norm(self.one(x)).relu()
        x = self.drop(self.two(x).relu())
        return self.head(self.three(x).relu().mean((2, 3)))


def build():
    return Tiny(), (1, 1, 8, 8)


def few():
    return Tiny(5), (1, 1, 8, 8)


class Explodes(Tiny):
    def forward(self, x):
        return super().forward(x) * torch.tensor(float("nan")) ** (self.training and x.shape[0] > 4)


def explodes():
    return Explodes(), (1, 1, 8, 8)
"""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Bitwise comparisons need a fixed order of additions."""
    torch.set_num_threads(1)


@pytest.fixture
def spec(tmp_path: Path) -> str:
    (tmp_path / "tiny.py").write_text(TINY)
    return f"{tmp_path / 'tiny.py'}:build"


@pytest.fixture
def network(spec: str) -> Network:
    from advisor.commands.network import open_network

    return open_network(spec, None, device="cpu")


@pytest.fixture
def plan(network: Network) -> Plan:
    return advisor.plan(network, budgets={"macs": "40%"}, patterns=["channel"])
