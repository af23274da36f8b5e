"""From the records of a measuring run to a profile: drift divided out, sums drawn, what is missing named."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING, Any

from advisor.devices.document import execution_from
from advisor.devices.predict import Predictor, error_summary
from advisor.devices.profile import Measurement, Profile, Whole
from advisor.devices.timing import NOTEWORTHY
from advisor.devices.work import Task, network_hash

if TYPE_CHECKING:
    from advisor.devices.settings import Machine, Settings
    from advisor.network import Network

_METHOD = (
    "every execution was timed alone, each run next to a run of one dense reference layer in warm caches; medians, "
    "divided by how far the reference was from its own median over the whole session; the whole network was timed "
    "first and last; with one thread on Linux CPUs without the time that other processes had the core"
)


def assemble(
    name: str,
    network: Network,
    settings: Settings,
    machine: Machine,
    tasks: list[Task],
    records: list[dict[str, Any]],
) -> Profile:
    """The profile of one run. `records` are those of `spend`: one per execution, and two of the whole network.

    Drift (the clock, neighbours) is divided out: each median is multiplied by the reference's median over all
    records / the reference's median while this one was taken.
    """
    refused = {str(record["key"]): str(record["failed"]) for record in records if "failed" in record}
    records = [record for record in records if "failed" not in record]
    session_ms = median(float(record["reference_ms"]) for record in records)
    measurements: dict[str, Measurement] = {}
    looks: list[dict[str, float]] = []
    for record in records:
        scale = session_ms / float(record["reference_ms"])
        if str(record["key"]).startswith("whole:"):
            looks.append({k: float(record[k]) * scale for k in ("median_ms", "low_ms", "high_ms", "eager_ms")})
            looks[-1]["repeats"] = float(record["repeats"])
            continue
        execution = execution_from(record["execution"])
        measurements[execution.key] = Measurement(
            execution=execution,
            median_ms=float(record["median_ms"]) * scale,
            low_ms=float(record["low_ms"]) * scale,
            high_ms=float(record["high_ms"]) * scale,
            repeats=int(record["repeats"]),
        )
    predictor = Predictor(list(measurements.values()))
    whole = Whole(
        model=network.name,
        input_shapes=network.input_shapes,
        median_ms=sum(look["median_ms"] for look in looks) / len(looks),
        low_ms=min(look["low_ms"] for look in looks),
        high_ms=max(look["high_ms"] for look in looks),
        repeats=int(sum(look["repeats"] for look in looks)),
        eager_ms=sum(look["eager_ms"] for look in looks) / len(looks),
        layers_ms=_layers_ms(network, measurements, predictor, training=settings.training),
        network_hash=network_hash(network),
    )
    unmeasured = tuple(t.execution.key for t in tasks if t.execution.key not in measurements)
    short = len([key for key in unmeasured if key not in refused])
    notes = [f"{short} of {len(tasks)} kinds of work were left to prediction: the time was spent"] if short else []
    notes += [f"did not run here, left to prediction: {key}: {reason}" for key, reason in list(refused.items())[:20]]
    seconds = sum(float(record["seconds"]) for record in records)
    waited = sum(float(record["seconds"]) * float(record.get("waited", 0.0)) for record in records) / seconds
    if waited > NOTEWORTHY:
        notes.append(f"other processes had the core for {waited:.0%} of the measuring; their time is taken out")
    return Profile(
        name=name,
        origin="measured",
        source=_METHOD,
        created=datetime.now(UTC).date().isoformat(),
        machine=machine,
        settings=settings,
        measurements=measurements,
        networks={whole.key: whole},
        unmeasured=unmeasured,
        error=error_summary(predictor),
        notes=tuple(notes),
    )


def _layers_ms(network: Network, measured: Mapping[str, Measurement], predictor: Predictor, *, training: bool) -> float:
    from advisor.patterns.option import DENSE
    from advisor.runtime.execution import executions

    total = 0.0
    for layer in network.sparsifiable:
        for execution, calls in executions(layer, DENSE, training=training).items():
            known = measured.get(execution.key)
            total += calls * (known.median_ms if known else predictor(execution).median_ms)
    return total
