"""What a profile asks for times that it does not hold: whatever was learnt of its device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from advisor.devices.predicting.predict import Estimate, Origin
    from advisor.devices.steps.record import Recording
    from advisor.devices.steps.step import Step
    from advisor.runtime.execution import Execution


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeEstimate:
    """A predicted run; `low_ms`..`high_ms` is meant to hold the true one in 80 of 100 cases.

    Attributes:
        parts: family of operators → ms; what lies between them as "interpreter" (CPU) or "launch" (GPU).
        steps_ms: beside the recording's steps; empty where the device's model does not tell them apart.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    origin: Origin
    parts: Mapping[str, float]
    steps_ms: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()


class Estimator(Protocol):
    """Predicts layers, any other operators, and whole runs of one device under one setting."""

    def layer(self, execution: Execution) -> Estimate:
        """One forward layer."""
        ...

    def step(self, step: Step) -> Estimate:
        """One operator."""
        ...

    def whole(self, recording: Recording) -> WholeEstimate:
        """A run, from the operators that it takes."""
        ...


@runtime_checkable
class LooksAhead(Protocol):
    """An estimator that answers for many layers more quickly than for each."""

    def look_ahead(self, executions: Iterable[Execution]) -> None:
        """Remembers the times of these layers, so that `layer` finds them."""
        ...
