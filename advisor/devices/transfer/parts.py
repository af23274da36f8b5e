"""What a profile holds beside its layers, carried over: other operators, and whole networks as sums of parts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from advisor.devices.transfer.scaled import ends

if TYPE_CHECKING:
    from advisor.devices.profile import Profile, StepTime, Whole
    from advisor.devices.transfer.ratio import Carried
    from advisor.network import Network

_STEP_DOUBT = 1.5  # operators that are no layers were not timed on the new machine: their interval is wider


def _memory_bound(carried: Carried) -> list[int]:
    """The quarter of the work with the fewest MACs per byte."""
    intensity = [m.execution.macs / max(m.execution.bytes_moved, 1) for m in carried.known]
    return sorted(range(len(intensity)), key=intensity.__getitem__)[: -(-len(intensity) // 4)]


def _shortest(carried: Carried) -> list[int]:
    ms = [m.median_ms for m in carried.known]
    return sorted(range(len(ms)), key=ms.__getitem__)[: -(-len(ms) // 4)]


def carried_steps(profile: Profile, carried: Carried) -> dict[str, StepTime]:
    if not profile.steps:
        return {}
    factor, half = carried.factor(_memory_bound(carried))
    found = {}
    for key, step in profile.steps.items():
        low, high = ends(step.median_ms, step.low_ms, step.high_ms, _STEP_DOUBT * half)
        middle = step.median_ms * factor
        found[key] = replace(step, median_ms=middle, low_ms=middle / low, high_ms=middle * high)
    return found


def layers_ms_of(whole: Whole, made: Profile, carried: Carried, network: Network | None) -> float:
    """The sum of a network's dense layers on the new machine."""
    if network is None:
        old = sum(m.median_ms for m in carried.known)
        return whole.layers_ms * sum(made.measurements[m.execution.key].median_ms for m in carried.known) / old
    from advisor.patterns.option import DENSE
    from advisor.runtime.execution import executions

    training = made.settings is not None and made.settings.training
    return sum(
        calls * made.latency(execution).median_ms
        for layer in network.sparsifiable
        for execution, calls in executions(layer, DENSE, training=training).items()
    )


def carried_whole(whole: Whole, layers_ms: float, carried: Carried) -> Whole:
    """A network as the sum of its carried parts."""
    memory, half = carried.factor(_memory_bound(carried))
    python = carried.factor(_shortest(carried))[0]
    parts = {family: ms * memory for family, ms in whole.parts.items()}
    interpreter = None if whole.interpreter_ms is None else whole.interpreter_ms * python
    rest = whole.rest_ms * memory if interpreter is None else sum(parts.values()) + interpreter
    median_ms = max(layers_ms + rest, 0.05 * layers_ms)  # a rest below zero must not eat up all layers
    # What is wrong with the layers is wrong with all of them alike, so it does not average out.
    doubt = float(np.median(carried.half)) * layers_ms + _STEP_DOUBT * half * abs(rest)
    low, high = ends(whole.median_ms, whole.low_ms, whole.high_ms, doubt / (layers_ms + abs(rest)))
    return replace(
        whole,
        median_ms=median_ms,
        low_ms=median_ms / low,
        high_ms=median_ms * high,
        eager_ms=whole.eager_ms * median_ms / whole.median_ms,
        layers_ms=layers_ms,
        parts=parts,
        interpreter_ms=interpreter,
        saved={layer: ms * memory for layer, ms in whole.saved.items()},
        origin="predicted",
    )
