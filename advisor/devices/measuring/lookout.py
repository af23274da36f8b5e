"""What is worth measuring next while a run goes on: asked after each pass, for no more than a part of its time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence, Set
from typing import TYPE_CHECKING

from advisor.devices.measuring.active import next_worths
from advisor.devices.measuring.scout import wanted_by_plans
from advisor.errors import AdvisorError

if TYPE_CHECKING:
    from advisor.devices.measuring.work import Task
    from advisor.devices.profile import Measurement, Profile
    from advisor.network import Network

_PART = 10  # looking for what plans want takes at most one part in so many of the time


class Lookout:
    """Ranks what waits by what is known (see `active` and `scout`).

    Args:
        measured: what the run knows until now; `profile`: the same as a profile to plan with.
        patterns: the names whose options plans may choose from.
    """

    def __init__(
        self,
        network: Network,
        tasks: Sequence[Task],
        *,
        measured: Callable[[], Mapping[str, Measurement]],
        profile: Callable[[], Profile],
        patterns: Sequence[str],
        include_ends: bool,
    ) -> None:
        self._network, self._tasks, self._patterns, self._ends = network, tasks, patterns, include_ends
        self._measured, self._profile = measured, profile
        self._wanted: frozenset[str] = frozenset()
        self._free_from = 0.0  # when there is time to plan again

    def __call__(self, waiting: Set[str], before: Mapping[str, float]) -> dict[str, float]:
        """Key → worth, of all that is waiting; `before` where little is known yet."""
        known = self._measured()
        began = time.perf_counter()
        sparse = any(m.execution.method == "direct" for m in known.values())
        if sparse and began >= self._free_from:
            try:
                self._wanted = wanted_by_plans(self._network, self._profile(), self._patterns, include_ends=self._ends)
            except AdvisorError:  # nothing to plan with: what is uncertain goes first
                self._wanted = frozenset()
            took = time.perf_counter() - began
            self._free_from = began + _PART * took
        return next_worths(self._tasks, waiting, known, before, self._wanted)
