"""Numbers out of JSON documents that may lack them."""

from __future__ import annotations

import math
from collections.abc import Mapping


def number(held: object, key: str) -> float | None:
    """`held[key]` where that is a finite number; None where it is missing, null or anything else."""
    value = held.get(key) if isinstance(held, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
