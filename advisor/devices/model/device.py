"""One device under one setting, as far as the suite has seen it: the time of any step, layer or whole run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from math import exp
from typing import TYPE_CHECKING

import numpy as np

from advisor.devices.model.layers import Layers, total
from advisor.devices.model.step_model import StepModel, class_of
from advisor.devices.model.steps_of import step_of
from advisor.devices.model.sums import Counts
from advisor.devices.model.training_of import training_steps_of
from advisor.devices.predicting.estimator import WholeEstimate
from advisor.devices.predicting.predict import Estimate

if TYPE_CHECKING:
    from advisor.devices.steps.record import Recording
    from advisor.devices.steps.step import Step
    from advisor.devices.suite.table import Table
    from advisor.runtime.execution import Execution

_WIDENING = 2.0  # beyond what was measured, the errors inside it say too little
_FAR = 0.05  # share of a run's time in steps beyond what was measured, from which on the run is extrapolated


class DeviceModel:
    """Predictions of one `Table`. Slow to make the first time it is asked (it fits), quick afterwards."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self._steps: dict[Step, Estimate] = {}
        self._forward = Layers(lambda executions: self._asked([step_of(e) for e in executions]))
        self._layers = Layers(self._trained) if table.training else self._forward

    @cached_property
    def _model(self) -> StepModel:
        from advisor.devices.suite.table import step_times

        return StepModel(step_times(self.table.pieces))

    def step(self, step: Step) -> Estimate:
        """One step with its 80 % interval."""
        if step not in self._steps:
            self._look_at([step])
        return self._steps[step]

    def _look_at(self, steps: Sequence[Step]) -> None:
        """Asks the learners for all steps that nobody asked for yet, at once; sparse layers rise with their curve."""
        new = [step for step in dict.fromkeys(steps) if step not in self._steps]
        sparse = {s: s.execution for s in new if s.execution is not None and s.execution.method == "direct"}
        self._forward.look_ahead(sparse.values())
        self._steps.update((step, self._forward(execution)) for step, execution in sparse.items())
        others = [step for step in new if step not in sparse]
        self._steps.update(zip(others, self._asked(others), strict=True))

    def _asked(self, steps: Sequence[Step]) -> list[Estimate]:
        ms, beyond = self._model(steps)
        parts = zip(steps, ms.tolist(), beyond.tolist(), strict=True)
        return [self._estimate(taken, out, class_of(step)) for step, taken, out in parts]

    def _trained(self, executions: Sequence[Execution]) -> list[Estimate]:
        steps = [training_steps_of(e) for e in executions]
        self._look_at([step for each in steps for step in each])
        return [total([self._steps[step] for step in each]) for each in steps]

    def layer(self, execution: Execution) -> Estimate:
        """One layer with its 80 % interval, in training forward, backward and update; of sparse ones, more kept
        connections never take less time.
        """
        return self._layers(self._as_run(execution))

    def look_ahead(self, executions: Iterable[Execution]) -> None:
        self._layers.look_ahead(map(self._as_run, executions))

    def _as_run(self, execution: Execution) -> Execution:
        # Folding gives a bias to whoever has none, and at inference it costs nothing.
        return execution if self.table.training else replace(execution, bias=True)

    def whole(self, recording: Recording) -> WholeEstimate:
        """A whole run from its steps."""
        self._look_at(recording.steps)
        found = [self._steps[step] for step in recording.steps]
        ms = np.array([one.median_ms for one in found])
        beyond = np.array([one.origin == "extrapolated" for one in found], dtype=bool)
        steps_ms = float(ms.sum())
        extra = self.table.between.ms(Counts.of(recording), steps_ms)
        whole = steps_ms + extra
        far = float(ms[beyond].sum()) / whole if whole else 0.0
        concentration = float((ms**2).sum()) / max(whole, 1e-12) ** 2
        low, high = self.table.between.ends(whole, concentration, widened=1 + far * (_WIDENING - 1))
        parts: dict[str, float] = {}
        for step, taken in zip(recording.steps, ms, strict=True):
            if step.family != "view":
                parts[step.family] = parts.get(step.family, 0.0) + float(taken)
        unknown = sorted({s.target for s, out in zip(recording.steps, beyond, strict=True) if out})
        notes = (
            (f"{far:.0%} of the time is in operators beyond what was measured: {', '.join(unknown[:5])}",)
            if far > _FAR
            else ()
        )
        return WholeEstimate(
            median_ms=whole,
            low_ms=low,
            high_ms=high,
            origin="extrapolated" if far > _FAR else "predicted",
            steps_ms=tuple(ms.tolist()),
            parts=parts | {"interpreter": extra},
            notes=notes,
        )

    def _estimate(self, ms: float, beyond: bool, name: str) -> Estimate:
        below, above = self.table.intervals.get(name, (-0.7, 0.7))
        if beyond:
            below, above = _WIDENING * below, _WIDENING * above
        return Estimate(
            median_ms=ms,
            low_ms=ms * exp(below),
            high_ms=ms * exp(above),
            origin="extrapolated" if beyond else "predicted",
        )
