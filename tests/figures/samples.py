"""A small network, a plan and a front made by hand, so that figures are tested without the planner."""

from functools import cache

from torch import nn

import advisor
from advisor.network import Network
from advisor.patterns.option import Option
from advisor.planning.frontier import Frontier, FrontierPoint
from advisor.plans.plan import CostLine, Plan, PlanLayer


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.left = nn.Conv2d(8, 8, 3, padding=1)
        self.right = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.norm(self.stem(x)).relu()
        return self.head((x + self.right(self.left(x))).mean((2, 3)))


@cache
def network() -> Network:
    return advisor.analyze(Block(), (1, 3, 16, 16), name="block")


def plan(**changes: object) -> Plan:
    options = {"left": Option(pattern="group", density=0.25, parameters={"block": 4})}
    layers = []
    for seed, layer in enumerate(network().sparsifiable):
        option = options.get(layer.name, Option(pattern="dense", density=1.0))
        layers.append(
            PlanLayer(
                name=layer.name,
                pattern=option.pattern,
                density=option.density,
                parameters=option.parameters,
                seed=seed,
                weight=layer.weight or "",
                weight_shape=layer.weight_shape,
            )
        )
    held = {
        "model": "block",
        "input_shapes": network().input_shapes,
        "layers": tuple(layers),
        "costs": {
            "params": CostLine(dense=1000.0, plan=400.0),
            "macs": CostLine(dense=2e6, plan=0.9e6, budget=1e6),
            "latency": CostLine(dense=20.0, plan=12.0, budget=11.0, low=10.0, high=15.0),
        },
        "objective": 0.5,
        "bound": 0.4999,
        "gap": 2e-4,
        "solve_seconds": 0.1,
        "status": "optimal",
        "sensitivity": "erk",
        "patterns": ("group",),
        "seed": 0,
        "network": network(),
    }
    return Plan(**(held | changes))


def front() -> Frontier:
    points = tuple(
        FrontierPoint(cost=2e6 - 3e5 * i, loss=0.1 * i * i, gap=1e-4, knee=i == 2, options={}, costs={})
        for i in range(5)
    )
    return Frontier(model="block", key="macs", unit="", dense=2e6, points=points, sensitivity="erk")


def report() -> dict:
    return {
        "runs": [
            {"plan": "plan", "seed": 0, "accuracy": 0.86},
            {"plan": "plan", "seed": 1, "accuracy": 0.9},
            {"plan": "dense", "seed": 0, "accuracy": None},
        ],
        "summary": [
            {"plan": "dense", "mean": 0.95, "low": None, "high": None, "predicted": {"macs": 2e6, "latency": 20.0}},
            {
                "plan": "plan",
                "mean": 0.88,
                "low": 0.85,
                "high": 0.91,
                "predicted": {"macs": 0.3e6, "latency": 12.0, "latency_low": 10.0, "latency_high": 15.0},
                "measured": {"latency": 12.5, "latency_low": 12.1, "latency_high": 13.0},
            },
            {"plan": "diverged", "mean": None, "predicted": {"macs": 1e6}},
        ],
    }
