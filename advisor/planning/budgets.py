"""Upper limits on the whole network's costs, as people write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

COSTS = ("params", "macs", "latency", "training_latency", "weight_memory", "peak_memory", "energy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """An upper limit on one cost: `value` in the cost's unit, or `share` of the dense network; the other is None."""

    key: str
    value: float | None = None
    share: float | None = None

    def limit(self, dense: float) -> float:
        """The limit in the cost's unit, for a dense network that costs `dense`."""
        return self.value if self.value is not None else (self.share or 0.0) * dense


def parse_budgets(items: Sequence[str] | Mapping[str, str | float | Budget]) -> dict[str, Budget]:
    """ "latency=60%" or {"latency": "60%"} → Budget by key."""
    raise NotImplementedError
