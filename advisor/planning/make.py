"""The public `plan`: from a network, a profile and budgets to a Plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from advisor.planning.budgets import Budget

if TYPE_CHECKING:
    from advisor.devices.profile import Profile
    from advisor.network import Network
    from advisor.plans.plan import Plan

Selection = Literal["random", "magnitude"]


def plan(
    network: Network,
    *,
    budgets: Mapping[str, str | float | Budget] | Sequence[str],
    profile: Profile | None = None,
    patterns: Sequence[str] | None = None,
    sensitivity: str = "erk",
    selection: str = "random",
    rounding: str = "ceil",
    seed: int = 0,
    include_ends: bool = False,
    exchange: Mapping[str, float] | None = None,
    gap: float = 1e-3,
    time_limit: float = 60.0,
) -> Plan:
    """One option per layer: least loss within all budgets, to a proven gap."""
    raise NotImplementedError


def load_exchange(path: str | Path) -> dict[str, float]:
    """Exchange rates between patterns from a validation's report.json: pattern → factor on its loss."""
    raise NotImplementedError
