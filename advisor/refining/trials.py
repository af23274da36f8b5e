"""Plans that were measured, and how they stand to the budgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from advisor.devices.measuring.timing import Sample, summarize
from advisor.plans.rounds import Round
from advisor.refining.correct import Correction, Evidence

if TYPE_CHECKING:
    from advisor.planning.problem import Problem
    from advisor.planning.solving.solve import Solution
    from advisor.planning.table import Choice
    from advisor.plans.plan import Plan
    from advisor.refining.gauges import Gauge, Reading

BAND = 0.03  # a measured cost meets its budget where it is not above it and at most so far below
_LEAST_SPREAD = 0.002  # of a share that was measured once


@dataclass(kw_only=True, eq=False)
class Tried:
    """One choice of the table, applied and measured; `shares` are of the dense network, by cost, over all timings."""

    solution: Solution
    plan: Plan
    shares: dict[str, list[float]] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    noise: dict[str, float] = field(default_factory=dict)  # at least, of a share
    timings: int = 0

    def share(self, key: str) -> Sample:
        """The median share of dense, and its 95 % interval."""
        return summarize(self.shares[key])


@dataclass(kw_only=True, eq=False)
class Bench:
    """Everything that was measured for one problem. Costs are held as shares of the dense network."""

    problem: Problem
    gauges: Mapping[str, Gauge]
    tried: list[Tried] = field(default_factory=list)
    rounds: list[tuple[Tried, Round]] = field(default_factory=list)
    _dense: dict[str, list[float]] = field(default_factory=dict)

    def scale(self, key: str) -> float:
        """What the uncorrected table says of the dense network: shares times this are amounts of the table."""
        table = self.problem.built.table
        return table.total(key, table.dense)

    def dense(self, key: str) -> float:
        """The dense network as measured over all rounds, in the cost's unit; the table's before the first."""
        return median(self._dense[key]) if self._dense.get(key) else self.scale(key)

    def limit(self, key: str) -> float:
        """The budget as a share of the measured dense network."""
        dense = self.dense(key)
        return self.problem.budgets[key].limit(dense) / dense

    def measure(self, tried: Tried, seconds: float) -> None:
        """Measures every cost that has a gauge once more. What an interrupt cuts off leaves no trace."""
        found: dict[str, Reading] = {key: gauge(tried.plan, seconds) for key, gauge in self.gauges.items()}
        for key, reading in found.items():
            tried.shares.setdefault(key, []).extend(reading.shares)
            tried.settings[key], tried.noise[key] = reading.settings, reading.noise
            tried.notes.extend(reading.notes)
            self._dense.setdefault(key, []).extend(reading.dense)
        tried.timings += 1
        if tried not in self.tried:
            self.tried.append(tried)

    def find(self, choice: Choice) -> Tried | None:
        """The plan of this choice, if it was measured."""
        return next((one for one in self.tried if np.array_equal(one.solution.choice, choice)), None)

    def evidence(self, key: str) -> list[Evidence]:
        """What was measured of one cost, in the table's scale."""
        scale = self.scale(key)
        found = []
        for one in self.tried:
            share = one.share(key)
            noise = max((share.high_ms - share.low_ms) / 2 / 1.96, one.noise.get(key, 0.0), _LEAST_SPREAD)
            found.append(Evidence(choice=one.solution.choice, measured=share.median_ms * scale, noise=noise * scale))
        return found

    def over(self, tried: Tried, key: str) -> float:
        """Measured / budget - 1: negative within the budget."""
        return tried.share(key).median_ms / self.limit(key) - 1

    def fits(self, tried: Tried) -> bool:
        """Whether it was measured within all budgets."""
        return all(self.over(tried, key) <= 0 for key in self.gauges)

    def may_fit(self, tried: Tried) -> bool:
        """Whether the intervals of what was measured reach into the budgets."""
        return all(tried.share(key).low_ms <= self.limit(key) for key in self.gauges)

    def meets(self, tried: Tried) -> bool:
        """Whether it fits, with at least one of the budgets used to within 3 %."""
        return self.fits(tried) and any(self.over(tried, key) >= -BAND for key in self.gauges)

    @property
    def is_met(self) -> bool:
        """Whether any plan meets the budgets, and keeps meeting them when it is timed again."""
        return any(one.timings > 1 and self.meets(one) for one in self.tried)

    @property
    def best(self) -> Tried:
        """The plan of least loss of those that fit; else the one that is least over."""
        fitting = [one for one in self.tried if self.fits(one)]
        if fitting:
            return min(fitting, key=lambda one: one.solution.objective)
        return min(self.tried, key=lambda one: max(self.over(one, key) for key in self.gauges))

    def record(
        self, tried: Tried, number: int, predicted: Mapping[str, float], corrections: Mapping[str, Correction]
    ) -> list[Round]:
        """Adds one line for each measured cost. `predicted` are shares of dense by the table as it was corrected."""
        lines = []
        for key in self.gauges:
            dense, share = self.dense(key), tried.share(key)
            correction = corrections.get(key, Correction())
            line = Round(
                number=number,
                cost=key,
                predicted=predicted[key] * dense,
                measured=share.median_ms * dense,
                low=share.low_ms * dense,
                high=share.high_ms * dense,
                dense=dense,
                budget=self.limit(key) * dense,
                factors=correction.factors,
                offset=correction.offset,
                within=-BAND <= self.over(tried, key) <= 0,
            )
            lines.append(line)
            self.rounds.append((tried, line))
        return lines
