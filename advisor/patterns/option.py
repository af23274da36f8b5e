"""One choice for one layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One (pattern, density) of one layer. Costs live in the CostTable.

    `density` is what was asked for; what is kept after rounding is the pattern's to say. `parameters` are the
    pattern's own: {"block": 16} for group, {"n": 2, "m": 4} for n:m, {"in": 0.5, "out": 0.75, "rounding": "ceil"}
    for width. They stand beside `pattern` and `density` in the plan file.
    """

    pattern: str
    density: float
    parameters: Mapping[str, Any] = field(default_factory=lambda: NOTHING)

    @property
    def label(self) -> str:
        """Short and unique within a layer: "group d=0.25 block=16"."""
        extra = "".join(f" {key}={value}" for key, value in sorted(self.parameters.items()))
        return f"{self.pattern} d={self.density:.4g}{extra}"


DENSE = Option(pattern="dense", density=1.0)
