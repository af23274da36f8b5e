"""A network that every library takes, and plans for it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

import advisor
from advisor.patterns.option import Option
from advisor.plans.plan import Plan
from advisor.plans.schedules import MaskSchedule
from tests.plans.samples import BLOCK, CHANNEL, GROUP, UNSTRUCTURED, plan_of

SHAPE = (2, 16, 8, 8)
TWO_OF_FOUR = Option(pattern="n:m", density=0.5, parameters={"n": 2, "m": 4})
OPTIONS = {"first": CHANNEL, "second": GROUP, "point": TWO_OF_FOUR, "hidden": BLOCK, "head": UNSTRUCTURED}
SCHEDULES = {
    "incremental": MaskSchedule(method="incremental", every=10, start=0.1),
    "set": MaskSchedule(method="set", every=10, end=100),
    "rigl": MaskSchedule(method="rigl", every=10, end=75),
}


class Plain(nn.Module):
    """Plain convolutions with norms and linear layers, a residual among them. 2 16 8 8 → 2 8."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.second = nn.Conv2d(16, 16, 3, padding=1)
        self.point = nn.Conv2d(16, 32, 1)
        self.hidden = nn.Linear(32, 16)
        self.head = nn.Linear(16, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.first(x)).relu()
        x = self.point(x + self.second(x)).relu().mean((2, 3))
        out: torch.Tensor = self.head(self.hidden(x).relu())
        return out


def plain(seed: int = 0) -> Plain:
    torch.manual_seed(seed)
    model = Plain()
    nn.init.uniform_(model.norm.weight, 0.5, 1.5)
    model.norm.running_mean.normal_(0, 0.3)
    return model.eval()


def inputs(seed: int = 1) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def masked(options: Mapping[str, Option] = OPTIONS, *, selection: str = "random") -> Plan:
    return plan_of(advisor.analyze(plain(), torch.zeros(SHAPE)), options, selection=selection, model="plain")


def narrowed() -> Plan:
    """With `width` alone, the coupled channels of the residual among them."""
    network = advisor.analyze(plain(), torch.zeros(SHAPE), name="plain")
    return advisor.plan(network, budgets={"params": "50%"}, patterns=["width"], include_ends=True)


def plan_for(format_name: str) -> Plan:
    """A plan that the format takes."""
    return narrowed() if format_name == "torch-pruning" else masked()


def schedule_for(format_name: str) -> MaskSchedule | None:
    return SCHEDULES["incremental"] if format_name == "schedule" else None
