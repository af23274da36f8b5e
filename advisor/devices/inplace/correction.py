"""From the time of a layer alone in warm caches to its time in place: measured on layers that were timed both ways."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from advisor.devices.predicting.features import sibling_group

if TYPE_CHECKING:
    from advisor.runtime.execution import Execution

_SHRINK = 2.0  # a group of so many layers counts as much as the wider group that it belongs to
_BLIND = 0.25  # log units: alone / in place was 0.5 to 1.1 over networks before anybody looked


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One execution timed both ways."""

    execution: Execution
    alone_ms: float
    in_place_ms: float

    @property
    def log(self) -> float:
        return math.log(self.in_place_ms / self.alone_ms)


class Correction:
    """In place / alone, as the mean log ratio of relatives: all layers, then those of its kind and method, then those
    of the same operator on the same input size, each shrunk towards the wider group.
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs = tuple(pairs)
        self._groups: dict[object, list[Pair]] = defaultdict(list)
        for pair in self.pairs:
            for group in _groups_of(pair.execution):
                self._groups[group].append(pair)
        errors = [pair.log - self._log(pair.execution, without=pair) for pair in self.pairs]
        # Root mean square of what was left out, with as much doubt as before added for few pairs.
        squares = sum(error**2 for error in errors) + _BLIND**2
        self.error = math.sqrt(squares / (len(errors) + 1))

    def __call__(self, execution: Execution) -> float:
        """The factor for a time alone."""
        return math.exp(self._log(execution))

    def _log(self, execution: Execution, without: Pair | None = None) -> float:
        found = 0.0
        for group in _groups_of(execution):
            logs = [pair.log for pair in self._groups.get(group, ()) if pair is not without]
            if logs:
                weight = len(logs) / (len(logs) + (_SHRINK if group != () else 0.0))
                found += weight * (fmean(logs) - found)
        return found

    def summary(self) -> dict[str, float | int | str]:
        """For a profile's error: the factors by kind and method, and how far one is off that was left out."""
        if not self.pairs:
            return {}
        found: dict[str, float | int | str] = {
            "correction_count": len(self.pairs),
            "correction_error_percent": round(100 * math.expm1(self.error), 2),
        }
        for group in sorted({_kind(pair.execution) for pair in self.pairs}):
            logs = [pair.log for pair in self._groups[group]]
            found["correction " + " ".join(group)] = round(math.exp(fmean(logs)), 4)
        return dict(list(found.items())[:20])


def _kind(e: Execution) -> tuple[str, ...]:
    depthwise = e.groups > 1 and e.weight_shape[1] == 1
    return (e.kind, e.method, "depthwise") if depthwise else (e.kind, e.method)


def _groups_of(execution: Execution) -> tuple[tuple[object, ...], ...]:
    """The widest first."""
    return (), _kind(execution), (execution.method, *sibling_group(execution))
