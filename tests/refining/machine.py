"""A machine on which whole networks take otherwise than the sum of their layers, in a way that is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from advisor.planning.problem import Problem
from advisor.plans.plan import Plan
from advisor.refining.correct import ways_of
from advisor.refining.gauges import Reading

PATTERNS = ("channel", "group")
FACTORS = {"channel by direct": 1.3, "group by direct": 1.15, "group by gather": 1.1, "channel by gather": 1.2}


@dataclass(kw_only=True)
class Machine:
    """Runs of plans as a formula: layers take their way's factor, and a share of dense on top; `pace` slows all."""

    problem: Problem
    key: str = "latency"
    factors: Mapping[str, float] = field(default_factory=lambda: FACTORS)
    on_top: float = 0.02
    pace: float = 1.4
    noise: float = 0.0
    runs: int = 0
    interrupted_at: int | None = None

    def share(self, plan: Plan) -> float:
        """Plan / dense, the truth."""
        built = self.problem.built
        table = built.table
        dense = table.total(self.key, table.dense)
        total = table.constants.get(self.key, 0.0)
        for name, options, ways, column in zip(
            table.layers, table.options, ways_of(built), table.costs[self.key], strict=True
        ):
            k = [option.label for option in options].index(plan.layer(name).option.label)
            total += float(column[k]) * self.factors.get(ways[k], 1.0)
        return total / dense + self.on_top

    def __call__(self, plan: Plan, seconds: float) -> Reading:
        self.runs += 1
        if self.runs == self.interrupted_at:
            raise KeyboardInterrupt
        table = self.problem.built.table
        noise = np.random.default_rng(self.runs).normal(1.0, self.noise, 9) if self.noise else np.ones(9)
        dense = self.pace * table.total(self.key, table.dense)
        return Reading(
            shares=tuple(float(x) for x in self.share(plan) * noise), dense=(dense,) * 9, settings="a formula"
        )
