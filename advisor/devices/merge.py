"""Several profiles of one machine as one."""

from __future__ import annotations

from collections.abc import Sequence

from advisor.devices.predict import Predictor, error_summary
from advisor.devices.profile import Measurement, Profile
from advisor.errors import ProfileError


def merge(profiles: Sequence[Profile], name: str) -> Profile:
    """One profile of several made on the same machine under the same settings, over different networks.

    Where two measured the same execution, the one with more repeats stays.

    Raises:
        ProfileError: there are none, or settings or machines differ.
    """
    if not profiles:
        raise ProfileError("no profiles to merge; give one or more")
    first = profiles[0]
    measurements: dict[str, Measurement] = {}
    for profile in profiles:
        if profile.settings != first.settings or profile.machine != first.machine:
            raise ProfileError(
                f"profiles {first.name!r} and {profile.name!r} differ in settings or machine; not merged"
            )
        for key, found in profile.measurements.items():
            if key not in measurements or found.repeats > measurements[key].repeats:
                measurements[key] = found
    left = {key for profile in profiles for key in profile.unmeasured} - measurements.keys()
    return Profile(
        name=name,
        origin=first.origin,
        source=first.source,
        created=max(profile.created for profile in profiles),
        machine=first.machine,
        settings=first.settings,
        measurements=measurements,
        networks={whole.key: whole for profile in profiles for whole in profile.networks.values()},
        unmeasured=tuple(sorted(left)),
        error=error_summary(Predictor(list(measurements.values()))) if measurements else None,
        energy=first.energy,
        notes=tuple(dict.fromkeys(note for profile in profiles for note in profile.notes)),
    )
