"""Which work to time on a new machine: few pieces that stand for all of a profile, short ones preferred."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from advisor.devices.transfer.features import Scale, rows_of
from advisor.errors import ProfileError

if TYPE_CHECKING:
    from advisor.devices.profile import Measurement, Profile
    from advisor.runtime.execution import Execution

_COST = 0.2  # what ten times the cluster's usual time weighs, in squared distances of its usual member
_SEED = 0


def choose(profile: Profile, count: int = 30) -> list[Execution]:
    """The executions whose times on another machine say the most about all others; the shortest first.

    All measured work is cut into `count` clusters by what it is and how fast it ran (k-means on `features.rows_of`); of
    each one member near its middle is taken. Designs that spread to the corners (D-optimal ones) were worse on tables
    of four GPUs: corners are where machines differ in their own ways.

    Raises:
        ProfileError: the profile has no measurements, or `count` is below 1.
    """
    if count < 1:
        raise ProfileError(f"count={count}; expected 1 or more")
    known = [m for _, m in sorted(profile.measurements.items())]
    if profile.tables:
        raise ProfileError(
            f"profile {profile.name!r} is a device profile: it holds pieces of networks, no layers to time alone; "
            "advisor transfer carries it over by running some of them on the other machine"
        )
    if not known:
        raise ProfileError(
            f"profile {profile.name!r} ({profile.origin}) holds no measured layers, so there is nothing to carry over"
        )
    return [m.execution for m in sorted(_medoids(known, count), key=lambda m: (m.median_ms, m.execution.key))]


def _medoids(known: list[Measurement], count: int) -> list[Measurement]:
    if len(known) <= count:
        return known
    from sklearn.cluster import KMeans

    raw = rows_of([m.execution for m in known], [m.median_ms for m in known])
    rows = Scale.of(raw)(raw)
    # Equal rows (a bias or a padding apart) would leave clusters empty.
    distinct = len(np.unique(rows.round(9), axis=0))
    found = KMeans(min(count, distinct), n_init=4, random_state=_SEED).fit(rows)
    taken = []
    for label, centre in enumerate(found.cluster_centers_):
        members = np.flatnonzero(found.labels_ == label)
        far = ((rows[members] - centre) ** 2).sum(axis=1)
        ms = np.array([known[i].median_ms for i in members])
        cost = _COST * np.log10(ms / np.median(ms))
        taken.append(known[int(members[int(np.argmin(far / max(float(far.mean()), 1e-12) + cost))])])
    return taken
