"""Small networks and plans for them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

import advisor
from advisor.network import Network
from advisor.patterns.base import layer_seed, pattern
from advisor.patterns.option import DENSE, Option
from advisor.plans.plan import CostLine, Plan, PlanLayer

CHANNEL = Option(pattern="channel", density=0.5)
GROUP = Option(pattern="group", density=0.5, parameters={"block": 4})
BLOCK = Option(pattern="block", density=0.5, parameters={"rows": 2, "columns": 2})
NM = Option(pattern="n:m", density=0.5, parameters={"n": 2, "m": 4})
UNSTRUCTURED = Option(pattern="unstructured", density=0.3)
MASKED = {"channel": CHANNEL, "group": GROUP, "block": BLOCK, "n:m": NM, "unstructured": UNSTRUCTURED}


class Small(nn.Module):
    """Convolutions plain, grouped, transposed and of one tap, with norms, and a linear layer. 2 4 8 8 → 2 8."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.grouped = nn.Conv2d(8, 16, 3, stride=2, groups=2)
        self.norm = nn.BatchNorm2d(16)
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.point = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.grouped(self.stem(x))).relu()
        out: torch.Tensor = self.head(self.point(self.up(x).relu()).mean((2, 3)))
        return out


SHAPE = (2, 4, 8, 8)
OPTIONS = {"stem.0": GROUP, "grouped": GROUP, "up": CHANNEL, "point": NM, "head": UNSTRUCTURED}


def small(seed: int = 0, dtype: torch.dtype = torch.float64) -> Small:
    torch.manual_seed(seed)
    net = Small().to(dtype)
    for child in net.modules():
        if isinstance(child, nn.BatchNorm2d):
            child.running_mean.normal_(0, 0.3)
            child.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(child.weight, 0.5, 1.5)
            nn.init.normal_(child.bias, 0, 0.3)
    return net


def plan_of(
    network: Network, options: Mapping[str, Option], *, selection: str = "random", seed: int = 0, **changes: Any
) -> Plan:
    """A plan as the planner would write it, with invented costs. "magnitude" takes arbitrary legal connections."""
    layers, chosen = [], {}
    for layer in network.sparsifiable:
        option = options.get(layer.name, DENSE)
        made = PlanLayer.of(layer, option, seed=layer_seed(seed, layer.name), selection=selection)
        layers.append(made)
        if made.is_chosen:
            chosen[layer.name] = pattern(option.pattern).connections(layer, option, seed=12345)
    held: dict[str, Any] = {
        "model": "small",
        "input_shapes": network.input_shapes,
        "layers": tuple(layers),
        "costs": {
            "params": CostLine(dense=network.params, plan=network.params / 2, budget=network.params / 2),
            "latency": CostLine(dense=2.0, plan=1.0, low=0.9, high=1.25),
        },
        "objective": 0.5,
        "bound": 0.4999,
        "gap": 2e-4,
        "solve_seconds": 0.1,
        "status": "optimal",
        "sensitivity": "erk",
        "patterns": tuple({option.pattern: None for option in options.values()}),
        "seed": seed,
        "profile": "here",
        "settings": {"device": "cpu", "threads": 2},
        "notes": ("a remark",),
        "chosen": chosen or None,
        "network": network,
    }
    return Plan(**(held | changes))


def small_plan(**changes: Any) -> Plan:
    return plan_of(advisor.analyze(small(), torch.zeros(SHAPE, dtype=torch.float64)), OPTIONS, **changes)


def rewired(plan: Plan, name: str) -> Plan:
    """The plan with one connection of a layer moved, as the repair of dead channels would."""
    import dataclasses

    from advisor.plans.masks import connections_of

    layer = plan.layer(name)
    row = connections_of(plan, layer)[0]
    move = (0, int(np.flatnonzero(row)[0]), int(np.flatnonzero(~row)[0]))
    changed = dataclasses.replace(layer, rewired=(move,))
    return dataclasses.replace(plan, layers=tuple(changed if item is layer else item for item in plan.layers))


def masked_copy(plan: Plan, model: nn.Module) -> nn.Module:
    """The dense module with its weights multiplied by the plan's masks."""
    import copy

    copied = copy.deepcopy(model)
    with torch.no_grad():
        for layer in plan.layers:
            weight = copied.get_parameter(layer.weight)
            weight.mul_(plan.masks(model)[layer.name].to(weight.device))
    return copied
