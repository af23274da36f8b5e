"""How two machines differ, learned from what both have timed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from advisor.devices.predicting.predict import interval
from advisor.devices.transfer.features import Floats, Scale, rows_of
from advisor.devices.transfer.model import RatioModel, percent
from advisor.errors import ProfileError

if TYPE_CHECKING:
    from advisor.devices.profile import Measurement, Profile


@dataclass(frozen=True, slots=True)
class Carried:
    """How the two machines differ, for all work of a profile. `middle` and `half` lie beside `known`, in log units."""

    known: tuple[Measurement, ...]
    middle: Floats
    half: Floats
    model: RatioModel

    def factor(self, members: Sequence[int]) -> tuple[float, float]:
        """The typical factor of these pieces of work, and the half-width of its log: the model's, or what holds 80 % of
        the differences between them where that is more.
        """
        middle = float(np.median(self.middle[list(members)]))
        spread = float(np.quantile(np.abs(self.middle[list(members)] - middle), 0.8))
        return math.exp(middle), max(float(np.median(self.half[list(members)])), spread)


def carry(profile: Profile, new: Mapping[str, Measurement]) -> Carried:
    """Learns the ratio from what both have, and applies it to all that the profile has."""
    known = tuple(m for _, m in sorted(profile.measurements.items()))
    rows = rows_of([m.execution for m in known], [m.median_ms for m in known])
    both = [i for i, m in enumerate(known) if m.execution.key in new]
    if not both:
        raise ProfileError(
            f"profile {profile.name!r}: none of the {len(new)} pieces of work timed on the new machine is among its "
            f"{len(known)}; take those that advisor transfer --list names"
        )
    logs = np.array([math.log(new[known[i].execution.key].median_ms / known[i].median_ms) for i in both])
    model = RatioModel(rows[both], logs, Scale.of(rows))
    middle, half = model(rows)
    return Carried(known, middle, half, model)


def error_of(model: RatioModel) -> dict[str, float | int | str]:
    """How far the transfer is off: each time on the new machine left out in turn; one factor alone beside it."""
    found: dict[str, float | int | str] = {
        "method": "times on the new machine left out one by one; with one factor alone beside it (one_factor_)",
        "factor": round(model.factor, 4),
        "count": len(model.left_out),
    }
    if len(model.left_out) < 2:
        return found
    for prefix, errors in (("", model.left_out), ("one_factor_", model.one_factor_left_out)):
        off = percent(errors)
        found[f"{prefix}mean_percent"] = round(float(off.mean()), 2)
        found[f"{prefix}median_percent"] = round(float(np.median(off)), 2)
        found[f"{prefix}p90_percent"] = round(float(np.quantile(off, 0.9)), 2)
    low, high = interval(model.left_out)
    return found | {"interval_low_percent": round(100 * math.expm1(low), 1),
                    "interval_high_percent": round(100 * math.expm1(high), 1)}  # fmt: skip
