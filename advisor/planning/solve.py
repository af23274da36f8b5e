"""The exact choice of one option per layer: a mixed integer program, solved by HiGHS, checked on the raw table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from advisor.planning.table import Choice, CostTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """One option per layer, and how far it can be from the best one."""

    choice: Choice  # (L,)
    objective: float
    bound: float  # no choice within the limits has a smaller objective
    gap: float  # (objective − bound) / |objective|; 0 where the objective is 0
    status: Literal["optimal", "time limit"]
    seconds: float


def solve(table: CostTable, limits: Mapping[str, float], *, gap: float = 1e-3, time_limit: float = 60.0) -> Solution:
    """Least loss within `limits`."""
    raise NotImplementedError
