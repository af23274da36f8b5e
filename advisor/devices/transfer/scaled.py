"""Times multiplied by a factor that is known to some degree."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from advisor.devices.measuring.alone import in_place_factor
from advisor.devices.profile import Measurement, Profile
from advisor.errors import ProfileError

if TYPE_CHECKING:
    from advisor.runtime.execution import Execution


def measurement_of(execution: Execution, time: float | Measurement) -> Measurement:
    if isinstance(time, Measurement):
        return replace(time, execution=execution)
    if not (math.isfinite(time) and time > 0):
        raise ProfileError(f"{execution.key}: got {time} ms, expected a time above 0")
    return Measurement(execution=execution, median_ms=time, low_ms=time, high_ms=time, repeats=1)


def in_place(profile: Profile, m: Measurement) -> Measurement:
    factor, doubt = in_place_factor(profile, m.execution)
    return scaled(m, factor, 1.28 * doubt, origin_kept=True) if factor != 1.0 or doubt else m


def scaled(m: Measurement, factor: float, half: float, *, origin_kept: bool = False) -> Measurement:
    """Times a factor whose log is known to ± half."""
    low, high = ends(m.median_ms, m.low_ms, m.high_ms, half)
    middle = m.median_ms * factor
    return replace(
        m,
        median_ms=middle,
        low_ms=middle / low,
        high_ms=middle * high,
        origin=m.origin if origin_kept else "predicted",
    )


def ends(median_ms: float, low_ms: float, high_ms: float, half: float) -> tuple[float, float]:
    """median / low and high / median with ± half in addition; independent logs add in quadrature."""
    return (
        math.exp(math.hypot(math.log(median_ms / low_ms), half)),
        math.exp(math.hypot(math.log(high_ms / median_ms), half)),
    )
