"""Layers timed alone, a handful at a time: to check a profile, or to learn how another machine differs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from advisor.errors import AdvisorError, KernelError

if TYPE_CHECKING:
    from advisor.devices.measuring.clocks import Clock
    from advisor.devices.measuring.timing import Sample
    from advisor.devices.profile import Profile
    from advisor.runtime.execution import Execution

WARMUP, LEAST = 2, 8
ROUNDS = WARMUP + LEAST
_BLIND_PERCENT = 25.0  # how far a layer alone is from one in place where the profile holds no pairs that tell

# Times key → execution in the seconds given, and gives key → Sample, or the reason why it does not run.
Timer = Callable[[Mapping[str, "Execution"], float], "Mapping[str, Sample | str]"]


def timer_alone(device: str, *, training: bool, dtype: str, clock: Clock | None = None) -> Timer:
    """Times each layer alone, on a normal input, right after a run of itself; all of them in turn.

    What does not run has the reason in place of its times.
    """

    def timed(work: Mapping[str, Execution], seconds: float) -> dict[str, Sample | str]:
        builders = {
            key: partial(_call, execution, device, training=training, dtype=dtype) for key, execution in work.items()
        }
        return timed_calls(builders, device, seconds, clock)

    return timed


def timed_calls(
    builders: Mapping[str, Callable[[], Callable[[], object]]], device: str, seconds: float, clock: Clock | None = None
) -> dict[str, Sample | str]:
    """Builds work and times it in turn, each right after a run of itself; the reason where it does not run."""
    from advisor.devices.measuring.timing import clock_for, time_interleaved

    calls: dict[str, Callable[[], object]] = {}
    taken: dict[str, Sample | str] = {}
    for key, build in builders.items():
        try:
            calls[key] = build()
            calls[key]()
        except (RuntimeError, AdvisorError) as error:
            calls.pop(key, None)
            taken[key] = " ".join(str(error).split())[:200] or type(error).__name__
    if calls:
        taken |= time_interleaved(
            calls,
            clock=clock or clock_for(device),
            warmup=WARMUP,
            min_repeats=LEAST,
            max_seconds=seconds,
            spread=0.01,
            primed=tuple(calls),
        )
    return taken


def _call(execution: Execution, device: str, *, training: bool, dtype: str) -> Callable[[], object]:
    import torch

    from advisor.devices.measuring.subject import layer_call
    from advisor.runtime.sparse import Sparse

    module, inputs = execution.build()
    number = getattr(torch, dtype)
    module, inputs = module.to(device, number), inputs.to(device, number)
    if isinstance(module, Sparse) and (runs := module.runs_by()) != execution.method:
        raise KernelError(f"it would run by {runs!r} here")
    return layer_call(module, inputs, training=training)


def in_place_factor(profile: Profile, execution: Execution) -> tuple[float, float]:
    """In place / alone for a layer of this kind, as the profile's own pairs gave it, and the error of its log."""
    if not any(whole.in_place for whole in profile.networks.values()):
        return 1.0, 0.0
    error = profile.error or {}
    e = execution
    depthwise = " depthwise" if e.groups > 1 and e.weight_shape[1] == 1 else ""
    names = [f"{e.kind} {e.method}{depthwise}", f"{e.kind} dense{depthwise}", f"{e.kind} dense"]
    factor = next((error[f"correction {name}"] for name in names if f"correction {name}" in error), 1.0)
    doubt = error.get("correction_error_percent", _BLIND_PERCENT)
    return float(factor), math.log1p(float(doubt) / 100)
