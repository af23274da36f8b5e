"""What a measuring run has written down, with its drift divided out."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from advisor.devices.document import execution_from
from advisor.devices.inplace.collect import Time, measurement, merged
from advisor.devices.measuring.drift import NOISY, Drift, drifts, is_noisy
from advisor.devices.profile import Measurement

if TYPE_CHECKING:
    from advisor.runtime.execution import Execution


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One pass over sparse layers. `whole_ms` unwatched, `sum_ms` all steps; `layers`: layer and what it ran, by call.

    `interpreter_ms` is what is left of the whole.
    """

    whole_ms: float
    sum_ms: float
    layers: tuple[tuple[str, Execution], ...]

    @property
    def interpreter_ms(self) -> float:
        return self.whole_ms - self.sum_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The records of a run as times.

    Attributes:
        looks: the whole network, as often as it was timed: median_ms, low_ms, high_ms, eager_ms, repeats.
        steps: the dense network's steps in place, all looks together; empty where nobody looked.
        passes: the template's wholes; `sparse`: what they told of its layers, by Execution.key.
        noisy: how many records were taken while something else ran (see `drift.is_noisy`); `slowest`: by how much the
            reference was slower at worst.
        alone: by Execution.key, timed alone.
    """

    looks: tuple[Mapping[str, float], ...]
    steps: Sequence[Time]
    step_repeats: int
    passes: tuple[Pass, ...]
    sparse: Mapping[str, Measurement]
    noisy: int
    slowest: float
    alone: Mapping[str, Measurement]

    @staticmethod
    def of(records: Sequence[dict[str, Any]]) -> Kept:
        """From the records of `spend`; those of work that failed are passed over."""
        records = [record for record in records if "failed" not in record]
        looks: list[Mapping[str, float]] = []
        steps: list[list[Time]] = []
        passes: list[Pass] = []
        sparse: dict[Execution, list[_Seen]] = defaultdict(list)
        noisy, slowest = 0, 0.0
        alone: dict[str, Measurement] = {}
        for record, drift in zip(records, drifts(records), strict=True):
            noisy += is_noisy(record, drift)
            slowest = max(slowest, drift.slower)
            key = str(record["key"])
            if key.startswith("whole:"):
                whole = _time(record, drift)
                eager_ms, repeats_ = float(record["eager_ms"]) * drift.scale, float(record["repeats"])
                looks.append(asdict(whole) | {"eager_ms": eager_ms, "repeats": repeats_})
                if "steps" in record:
                    names = ("median_ms", "low_ms", "high_ms")
                    steps.append([_time(dict(zip(names, found, strict=True)), drift) for found in record["steps"]])
            elif key.startswith("pass:"):
                found = [(str(item["layer"]), execution_from(item["execution"])) for item in record["found"]]
                for (_, execution), item in zip(found, record["found"], strict=True):
                    sparse[execution].append(_Seen(_time(item, drift), int(record["repeats"]), drift.slower))
                passes.append(
                    Pass(
                        whole_ms=float(record["median_ms"]) * drift.scale,
                        sum_ms=float(record["sum_ms"]) * drift.scale,
                        layers=tuple(found),
                    )
                )
            else:
                execution = execution_from(record["execution"])
                alone[key] = measurement(execution, [_time(record, drift)], int(record["repeats"]))
        return Kept(
            looks=tuple(looks),
            steps=merged(steps) if steps else (),
            step_repeats=int(sum(look["repeats"] for look in looks)) if steps else 0,
            passes=tuple(passes),
            sparse={e.key: _best(e, seen) for e, seen in sparse.items()},
            noisy=noisy,
            slowest=slowest,
            alone=alone,
        )


@dataclass(frozen=True, slots=True)
class _Seen:
    """One look at a sparse layer, and by how much the machine was slower then."""

    time: Time
    repeats: int
    slower: float


def _best(execution: Execution, seen: Sequence[_Seen]) -> Measurement:
    """Quiet looks where there are any, otherwise the quietest one and what is nearly as quiet."""
    limit = max(min(one.slower for one in seen), NOISY / 2) + NOISY / 2
    chosen = [one for one in seen if one.slower <= limit]
    return measurement(execution, [one.time for one in chosen], sum(one.repeats for one in chosen))


def _time(record: Mapping[str, Any], drift: Drift) -> Time:
    """With the drift divided out; how well it is known is in the interval."""
    low, middle, high = (float(record[name]) * drift.scale for name in ("low_ms", "median_ms", "high_ms"))
    if middle <= 0:
        return Time(median_ms=0.0, low_ms=0.0, high_ms=0.0)
    below, above = (math.hypot(end / middle - 1, drift.slack) for end in (low, high))
    return Time(median_ms=middle, low_ms=middle * max(1 - below, 0.01), high_ms=middle * (1 + above))
