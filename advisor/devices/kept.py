"""What a measuring run has written down, with its drift divided out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from advisor.devices.document import execution_from
from advisor.devices.inplace.collect import Time, merged
from advisor.devices.profile import Measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The records of a run as times.

    Attributes:
        looks: the whole network, as often as it was timed: median_ms, low_ms, high_ms, eager_ms, repeats.
        steps: the dense network's steps in place, all looks together; empty where nobody looked.
        alone: by Execution.key, timed alone.
    """

    looks: tuple[Mapping[str, float], ...]
    steps: Sequence[Time]
    step_repeats: int
    alone: Mapping[str, Measurement]

    @staticmethod
    def of(records: Sequence[dict[str, Any]]) -> Kept:
        """From the records of `spend`; those of work that failed are passed over."""
        records = [record for record in records if "failed" not in record]
        session_ms = median(float(record["reference_ms"]) for record in records)
        looks: list[Mapping[str, float]] = []
        steps: list[list[Time]] = []
        alone: dict[str, Measurement] = {}
        for record in records:
            scale = session_ms / float(record["reference_ms"])
            if str(record["key"]).startswith("whole:"):
                look = {k: float(record[k]) * scale for k in ("median_ms", "low_ms", "high_ms", "eager_ms")}
                looks.append(look | {"repeats": float(record["repeats"])})
                if "steps" in record:
                    steps.append(
                        [Time(median_ms=m, low_ms=lo, high_ms=h).scaled(scale) for m, lo, h in record["steps"]]
                    )
                continue
            execution = execution_from(record["execution"])
            alone[execution.key] = Measurement(
                execution=execution,
                median_ms=float(record["median_ms"]) * scale,
                low_ms=float(record["low_ms"]) * scale,
                high_ms=float(record["high_ms"]) * scale,
                repeats=int(record["repeats"]),
            )
        return Kept(
            looks=tuple(looks),
            steps=merged(steps) if steps else (),
            step_repeats=int(sum(look["repeats"] for look in looks)) if steps else 0,
            alone=alone,
        )
