"""The plain alternatives at a plan's budgets: one density everywhere, ERK, one width factor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from advisor.devices.profile import Profile
    from advisor.network import Network
    from advisor.plans.plan import Plan

BASELINES = ("uniform", "erk", "width")


class Baselines(dict[str, "Plan"]):
    """Baseline → its plan. `reasons` says of each one that is missing why it cannot meet the budgets."""

    reasons: dict[str, str]

    def __init__(self, plans: Mapping[str, Plan] = {}, reasons: Mapping[str, str] = {}) -> None:
        super().__init__(plans)
        self.reasons = dict(reasons)


def baselines(
    network: Network,
    plan: Plan,
    *,
    profile: Profile | None = None,
    kinds: Sequence[str] = BASELINES,
    seed: int | None = None,
) -> Baselines:
    """The largest plan of each kind that meets all of `plan`'s budgets (`plan.costs[key].budget`)."""
    raise NotImplementedError
