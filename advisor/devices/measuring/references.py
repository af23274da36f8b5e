"""Which of a profile's measurements stand for the rest when there is time for a handful."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from advisor.devices.profile import Measurement, Profile

Role = Literal["compute-bound", "memory-bound", "small", "sparse"]


def references(profile: Profile, *, most_ms: float) -> dict[Role, Measurement]:
    """Role → measurement: three dense layers that meet different limits of the machine, and one sparse one.

    Of layers no longer than `most_ms` (the shortest where all are longer): *compute-bound* is the one with the most
    MACs per byte among the longer half, *memory-bound* the one with the fewest among the longer three quarters, *small*
    the shortest, *sparse* the middle one of those that run by sparse kernels or by gathering. A profile with less has
    fewer roles. The same choice each time.
    """
    known = sorted(
        (m for m in profile.measurements.values() if m.origin == "measured" and m.median_ms <= most_ms),
        key=lambda m: (m.median_ms, m.execution.key),
    ) or [min(profile.measurements.values(), key=lambda m: (m.median_ms, m.execution.key))]
    dense = [m for m in known if m.execution.method == "dense"]
    chosen: dict[Role, Measurement] = {}
    if dense:
        longer = dense[len(dense) // 2 :]
        chosen["compute-bound"] = max(longer, key=_intensity)
        left = [m for m in dense if m not in chosen.values()]
        if left:
            chosen["memory-bound"] = min(left[len(left) // 4 :], key=lambda m: (round(_intensity(m), 2), -m.median_ms))
        left = [m for m in left if m not in chosen.values()]
        if left:
            chosen["small"] = left[0]
    sparse = [m for m in known if m.execution.method in ("direct", "gather")]
    if sparse:
        chosen["sparse"] = sparse[len(sparse) // 2]
    if not chosen:  # packed layers alone
        chosen["small"] = known[0]
    return chosen


def _intensity(m: Measurement) -> float:
    return m.execution.macs / max(m.execution.bytes_moved, 1)
