"""From the times of a dense network's steps to its layers, its other operators, and what is left."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING

from advisor.devices.inplace.deployed import work_of
from advisor.devices.profile import Measurement, StepTime
from advisor.patterns.option import DENSE
from advisor.runtime.execution import executions

if TYPE_CHECKING:
    from advisor.devices.inplace.deployed import Deployed
    from advisor.devices.steps.step import Step
    from advisor.network import Layer, Network
    from advisor.runtime.execution import Execution


@dataclass(frozen=True, slots=True, kw_only=True)
class Time:
    """One time in ms with its interval."""

    median_ms: float
    low_ms: float
    high_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseTimes:
    """What the dense network's own operators take, in place.

    `parts` sums the operators that are no layers by family; `seen` are the layers that `layers` speaks of.
    """

    layers: Mapping[str, Measurement]  # by Execution.key
    steps: Mapping[str, StepTime]  # by Step.key
    parts: Mapping[str, float]
    seen: frozenset[str]


def merged(looks: Sequence[Sequence[Time]]) -> list[Time]:
    """Several looks at the same steps as one: the mean of the medians, and an interval over all of them."""
    return [
        Time(
            median_ms=fmean(time.median_ms for time in times),
            low_ms=min(time.low_ms for time in times),
            high_ms=max(time.high_ms for time in times),
        )
        for times in zip(*looks, strict=True)
    ]


def dense_times(network: Network, dense: Deployed, times: Sequence[Time], repeats: int) -> DenseTimes:
    """Sorts the times of all steps (beside `dense.steps`) by what they are times of."""
    known = {layer.name: layer for layer in network.sparsifiable}
    layers: dict[Execution, list[Time]] = defaultdict(list)
    steps: dict[Step, list[Time]] = defaultdict(list)
    parts: dict[str, float] = defaultdict(float)
    for step, site, time in zip(dense.steps, dense.sites, times, strict=True):
        if not work_of(step):
            continue
        execution = dense_execution(known[site], step) if site is not None else None
        if execution is not None:
            layers[execution].append(time)
        else:
            parts[step.family] += time.median_ms
            steps[replace(step, execution=None)].append(time)
    return DenseTimes(
        layers={e.key: measurement(e, found, repeats) for e, found in layers.items()},
        steps={s.key: _step_time(s, found, repeats) for s, found in steps.items()},
        parts=dict(sorted(parts.items())),
        seen=frozenset(site for site in dense.sites if site is not None),
    )


def dense_execution(layer: Layer, step: Step) -> Execution | None:
    """The execution of a dense layer that a step of it is: as the layer's own shapes say, without what was folded in.

    None where the step is another one than any call of the layer.
    """
    found = executions(layer, DENSE)
    if step.execution is not None and (same := replace(step.execution, bias=layer.bias)) in found:
        return same
    return next(iter(found)) if len(found) == 1 else None


def measurement(execution: Execution, times: Sequence[Time], repeats: int) -> Measurement:
    """The mean over the places where equal work runs: sums over a network are then right."""
    mean = _mean(times)
    return Measurement(
        execution=execution, median_ms=mean.median_ms, low_ms=mean.low_ms, high_ms=mean.high_ms, repeats=repeats
    )


def _step_time(step: Step, times: Sequence[Time], repeats: int) -> StepTime:
    mean = _mean(times)
    return StepTime(step=step, median_ms=mean.median_ms, low_ms=mean.low_ms, high_ms=mean.high_ms, repeats=repeats)


def _mean(times: Sequence[Time]) -> Time:
    return Time(
        median_ms=fmean(time.median_ms for time in times),
        low_ms=fmean(time.low_ms for time in times),
        high_ms=fmean(time.high_ms for time in times),
    )
