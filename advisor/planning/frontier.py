"""The Pareto front of one cost against the estimated loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from advisor.patterns.option import Option

if TYPE_CHECKING:
    from advisor.devices.profile import Profile
    from advisor.network import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontierPoint:
    """One exact plan on the front."""

    cost: float
    loss: float
    gap: float
    knee: bool
    options: Mapping[str, Option]  # layer → its choice
    costs: Mapping[str, float]  # every known cost of this plan

    @property
    def densities(self) -> dict[str, float]:
        """Layer → density."""
        return {name: option.density for name, option in self.options.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontier:
    """Points in order of falling cost; `dense` is the dense network's cost, `unit` "ms", "bytes", "mJ" or ""."""

    model: str
    key: str
    unit: str
    dense: float
    points: tuple[FrontierPoint, ...]
    sensitivity: str
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        raise NotImplementedError


def frontier(
    network: Network,
    *,
    profile: Profile | None = None,
    cost: str = "latency",
    points: int = 20,
    patterns: Sequence[str] | None = None,
    sensitivity: str = "erk",
    seed: int = 0,
    include_ends: bool = False,
) -> Frontier:
    """Trades `cost` against loss."""
    raise NotImplementedError
