"""What a plan gained by leaving the grid of densities (`advisor.planning.continuous`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxation:
    """Densities between those of the grid.

    Attributes:
        gain: (objective_grid - objective) / objective_grid, 0 where the grid's plan was kept.
        objective_grid: of the exact plan on the grid.
        objective_relaxed: where any density is allowed and costs and losses lie on curves through the grid's; no bound,
            since these curves need be neither exact nor convex.
        objective: of the plan, whose densities the patterns can keep and whose costs were computed anew.
        steps: iterations of the optimiser.
    """

    gain: float
    objective_grid: float
    objective_relaxed: float
    objective: float
    steps: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Relaxation:
        """From a plan file's part, checked by its schema."""
        numbers = {name: float(document[name]) for name in ("gain", *_OBJECTIVES)}
        return cls(**numbers, steps=int(document["steps"]))


_OBJECTIVES = ("objective_grid", "objective_relaxed", "objective")
