"""A profile carried over to another machine by a handful of times taken there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from advisor.devices.profile import Measurement, Profile
from advisor.devices.transfer.parts import carried_steps, carried_whole, layers_ms_of
from advisor.devices.transfer.ratio import carry, error_of
from advisor.devices.transfer.scaled import in_place, measurement_of, scaled
from advisor.errors import ProfileError

if TYPE_CHECKING:
    from advisor.devices.settings import Machine, Settings
    from advisor.network import Network
    from advisor.runtime.execution import Execution


def transfer(
    profile: Profile,
    measured: Mapping[Execution, float | Measurement],
    *,
    machine: Machine | None = None,
    settings: Settings | None = None,
    name: str | None = None,
    networks: Mapping[str, Network] | None = None,
) -> Profile:
    """The profile of another machine, from this one of `profile` and times `measured` there, alone.

    All that `profile` has measured is multiplied by a smooth ratio of the two machines (see `RatioModel`), learned from
    `measured`; work that was measured keeps its own time. Times alone are brought in place first, where the profile was
    made in place, by its own factors. Operators that are no layers take the factor of work that is bound by memory,
    Python between them that of the shortest work: neither was timed there, and their intervals are wider.

    Args:
        measured: execution → ms, or a measurement with its interval; most of them such as the profile has.
        machine: the new one; "another machine than NAME" where nobody says.
        settings: those of the new times; the profile's otherwise.
        networks: by `Whole.key`: what layers the profile's networks have, which it does not list. Without one its
            layers take the mean factor of all measured work.

    Raises:
        ProfileError: the profile has no measurements, or none of them is among `measured`.
    """
    made = settings or profile.settings
    if made is None or not profile.measurements:
        raise ProfileError(
            f"profile {profile.name!r} ({profile.origin}) holds no measured layers, so there is nothing to carry over"
        )
    new = {m.execution.key: in_place(profile, m) for m in map(measurement_of, measured, measured.values())}
    carried = carry(profile, new)
    measurements = dict(new)
    for m, middle, half in zip(carried.known, carried.middle, carried.half, strict=True):
        if m.execution.key not in new:
            measurements[m.execution.key] = scaled(m, math.exp(middle), float(half))
    steps = carried_steps(profile, carried)
    old = profile.machine.name if profile.machine else "an unknown machine"
    settings_before = profile.settings.text if profile.settings else ""
    made_profile = Profile(
        name=name or f"{profile.name}-transferred",
        origin="calibrated",
        source=(
            f"carried over from {old} (profile {profile.name!r}, {settings_before}) by {len(carried.model.left_out)} "
            f"times on the new machine: one factor of {carried.model.factor:.3g}"
            + ("" if carried.model.one_factor else ", and a smooth function of the work on top of it")
        ),
        created=datetime.now(UTC).date().isoformat(),
        machine=machine or (replace(profile.machine, name=f"another machine than {old}") if profile.machine else None),
        settings=made,
        measurements=measurements,
        networks={},
        unmeasured=tuple(sorted(set(measurements) - set(new)))[:200_000],
        error=error_of(carried.model),
        notes=_notes(profile),
        steps=steps,
    )
    wholes = {
        key: carried_whole(whole, layers_ms_of(whole, made_profile, carried, (networks or {}).get(key)), carried)
        for key, whole in profile.networks.items()
    }
    return replace(made_profile, networks=wholes)


def _notes(profile: Profile) -> tuple[str, ...]:
    notes = []
    if any(whole.in_place for whole in profile.networks.values()):
        notes.append(
            "times alone on the new machine were brought in place by the factors that the first profile found on its"
            " own machine"
        )
    if profile.steps or profile.networks:
        notes.append(
            "operators that are no layers and whole networks were not timed on the new machine: they go with the"
            " factor of its layers that are bound by memory"
        )
    return (*notes, *profile.notes[:50])
