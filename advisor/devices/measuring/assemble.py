"""From the records of a measuring run to a profile: drift divided out, sums drawn, what is missing named."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from advisor.devices.inplace.collect import DenseTimes, dense_times
from advisor.devices.inplace.correction import Correction, Pair
from advisor.devices.inplace.saved import deviations, saved_ms, usual
from advisor.devices.inplace.taken_in import calls_of, taken_in
from advisor.devices.measuring.kept import Kept
from advisor.devices.measuring.rising import risen
from advisor.devices.measuring.timing import NOTEWORTHY
from advisor.devices.measuring.work import Task, network_hash
from advisor.devices.predicting.predict import Predictor, error_summary
from advisor.devices.profile import Measurement, Profile, Whole
from advisor.patterns.option import DENSE
from advisor.runtime.execution import executions

if TYPE_CHECKING:
    from advisor.devices.measuring.session import Session
    from advisor.devices.settings import Machine, Settings
    from advisor.network import Layer, Network

_INSIDE = 1.28  # standard deviations that hold 80 %
_ALONE = (
    "every execution was timed alone, each run next to a run of one dense reference layer in warm caches; medians, "
    "divided by how far the reference was from its own median over the whole session; the whole network was timed "
    "first and last; with one thread on Linux CPUs without the time that other processes had the core; times of one "
    "layer under one method never fall while more connections are kept"
)
_IN_PLACE = (
    "layers and all other operators were timed in place, in runs of the whole deployed network that took turns with "
    "runs without a clock in them and with a dense reference layer; what could not run in place was timed alone and "
    "multiplied by what layers timed both ways took in place; medians, divided by how far the reference was from its "
    "own median over the whole session; with one thread on Linux CPUs without the time that other processes had the "
    "core; times of one layer under one method never fall while more connections are kept"
)


def assemble(
    name: str,
    network: Network,
    settings: Settings,
    machine: Machine,
    tasks: list[Task],
    records: list[dict[str, Any]],
    session: Session | None = None,
) -> Profile:
    """The profile of one run. `records` are those of `spend`: one per execution, and two of the whole network.

    Drift (the clock, neighbours) is divided out: each median is multiplied by the reference's median over all
    records / the reference's median while this one was taken.

    Args:
        session: it knows the network whose steps the records of the whole hold, and the one of the passes; None where
            nothing was timed in place.
    """
    dense = session.dense if session is not None else None
    refused = {str(record["key"]): str(record["failed"]) for record in records if "failed" in record}
    kept = Kept.of(records)
    found = dense_times(network, dense, kept.steps, kept.step_repeats) if dense is not None and kept.steps else None
    measurements, correction = _measurements(kept, found)
    predictor = Predictor(list(measurements.values()))
    whole = _whole(network, kept, found, measurements, predictor, training=settings.training)
    error = error_summary(predictor) | correction.summary()
    if found is not None and session is not None:
        whole, more = _with_passes(network, kept, session, measurements, whole)
        error |= more
    unmeasured = tuple(t.execution.key for t in tasks if t.execution.key not in measurements)
    short = len([key for key in unmeasured if key not in refused])
    notes = [f"{short} of {len(tasks)} kinds of work were left to prediction: the time was spent"] if short else []
    notes += [f"did not run here, left to prediction: {key}: {reason}" for key, reason in list(refused.items())[:20]]
    if found is not None and (hidden := [x.name for x in network.sparsifiable if x.name not in found.seen]):
        notes.append(
            f"{len(hidden)} layers run inside of fused operators and have no step of their own: {', '.join(hidden[:3])}"
        )
    if graph := next((record["graph"] for record in records if "graph" in record), None):
        whole = replace(
            whole, graph_ms=graph["graph_ms"], launch_ms=graph["launch_ms"], launches=graph["kernels"] or None
        )
        notes += [str(graph["problem"])] if graph["problem"] else []
    if session is not None and session.why_alone:
        notes.append(f"sparse layers were timed alone, not in place: {session.why_alone}")
    seconds = sum(float(record["seconds"]) for record in records)
    waited = sum(float(record["seconds"]) * float(record.get("waited", 0.0)) for record in records) / seconds
    if waited > NOTEWORTHY:
        notes.append(f"other processes had the core for {waited:.0%} of the measuring; their time is taken out")
    if kept.noisy:
        again = sum(1 for record in records if record.get("again") and "failed" not in record)
        notes.append(
            f"noise: {kept.noisy} of {len(records)} measurements were taken while something else ran on this machine "
            f"(the reference layer up to {kept.slowest:.0%} slower than in the quietest fifth of them); "
            f"{again} passes over the network were repeated for that, and all times are scaled to the quiet ones"
        )
    return Profile(
        name=name,
        origin="measured",
        source=_ALONE if found is None else _IN_PLACE,
        created=datetime.now(UTC).date().isoformat(),
        machine=machine,
        settings=settings,
        measurements=measurements,
        networks={whole.key: whole},
        unmeasured=unmeasured,
        error=error,
        notes=tuple(notes),
        steps=found.steps if found is not None else {},
    )


def measured_so_far(network: Network, session: Session, records: list[dict[str, Any]]) -> dict[str, Measurement]:
    """By Execution.key, what a run has measured until now."""
    kept = Kept.of(records)
    dense = session.dense
    found = dense_times(network, dense, kept.steps, kept.step_repeats) if dense is not None and kept.steps else None
    return _measurements(kept, found)[0]


def _measurements(kept: Kept, found: DenseTimes | None) -> tuple[dict[str, Measurement], Correction]:
    """What was timed in place as it is, and what was timed alone as it would be in place."""
    in_place = {**found.layers, **kept.sparse} if found is not None else {}
    correction = Correction(
        [
            Pair(execution=m.execution, alone_ms=m.median_ms, in_place_ms=in_place[key].median_ms)
            for key, m in kept.alone.items()
            if key in in_place
        ]
    )
    if found is None:
        return risen(kept.alone), correction
    for key, m in kept.alone.items():
        if key not in in_place:
            in_place[key] = corrected(m, correction)
    return risen(in_place), correction


def corrected(m: Measurement, correction: Correction) -> Measurement:
    """A time alone as the time in place; the correction's own error enters the interval."""
    factor = correction(m.execution)
    low = math.exp(-math.hypot(math.log(m.median_ms / m.low_ms), _INSIDE * correction.error))
    high = math.exp(math.hypot(math.log(m.high_ms / m.median_ms), _INSIDE * correction.error))
    middle = m.median_ms * factor
    return replace(m, median_ms=middle, low_ms=middle * low, high_ms=middle * high)


def _whole(
    network: Network,
    kept: Kept,
    found: DenseTimes | None,
    measured: Mapping[str, Measurement],
    predictor: Predictor,
    *,
    training: bool,
) -> Whole:
    whole = Whole(
        model=network.name,
        input_shapes=network.input_shapes,
        median_ms=fmean(look["median_ms"] for look in kept.looks),
        low_ms=min(look["low_ms"] for look in kept.looks),
        high_ms=max(look["high_ms"] for look in kept.looks),
        repeats=int(sum(look["repeats"] for look in kept.looks)),
        eager_ms=fmean(look["eager_ms"] for look in kept.looks),
        layers_ms=_layers_ms(network.sparsifiable, measured, predictor, training=training),
        network_hash=network_hash(network),
    )
    if found is None:
        return whole
    parts = dict(found.parts)
    hidden = [layer for layer in network.sparsifiable if layer.name not in found.seen]
    if hidden and "product" in parts:
        # These layers run inside of fused products (attention), and must not be counted twice.
        parts["product"] = max(parts["product"] - _layers_ms(hidden, measured, predictor, training=training), 0.0)
    return replace(whole, parts=parts, interpreter_ms=whole.rest_ms - sum(parts.values()))


def _with_passes(
    network: Network, kept: Kept, session: Session, measured: Mapping[str, Measurement], whole: Whole
) -> tuple[Whole, dict[str, float | int | str]]:
    """The whole with what sparse layers save beside themselves, and how well the sums met the passes' wholes."""
    if session.dense is None or session.template is None or not kept.passes:
        return whole, {}
    taken = taken_in(session.dense, calls_of(session.template.running))
    left = whole.median_ms - sum(time.median_ms for time in kept.steps)
    saved = saved_ms(taken, kept.steps, kept.passes, left)
    swapped = [network.layer(name) for name in session.template.calls]
    dense_ms = {
        layer.name: sum(measured[e.key].median_ms * n for e, n in executions(layer, DENSE).items()) for layer in swapped
    }
    off = deviations(kept.passes, kept.sparse, dense_ms, saved, whole.median_ms)
    error: dict[str, float | int | str] = {
        "passes": len(off),
        "pass_median_percent": round(100 * float(np.median(np.abs(off))), 2),
        "pass_worst_percent": round(100 * float(np.abs(off).max()), 2),
    }
    return replace(whole, saved=saved, deviation=usual(off)), error


def _layers_ms(
    layers: Iterable[Layer], measured: Mapping[str, Measurement], predictor: Predictor | None, *, training: bool
) -> float:
    total = 0.0
    for layer in layers:
        for execution, calls in executions(layer, DENSE, training=training).items():
            known = measured.get(execution.key) or (predictor(execution) if predictor else None)
            total += calls * known.median_ms if known else 0.0
    return total
