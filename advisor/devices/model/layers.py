"""Layers by their executions, many at once: sparse ones lie on curves that rise with what is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from advisor.devices.model.monotone import along_kept
from advisor.devices.predicting.predict import Estimate

if TYPE_CHECKING:
    from advisor.runtime.execution import Execution

Answer = Callable[[Sequence["Execution"]], list[Estimate]]


class Layers:
    """Remembers what it was told.

    Args:
        answer: tells the times of many executions, none of which knows of another one.
    """

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._known: dict[Execution, Estimate] = {}
        self._points: dict[Execution, Estimate] = {}

    def __call__(self, execution: Execution) -> Estimate:
        if execution not in self._known:
            self.look_ahead((execution,))
        return self._known[execution]

    def look_ahead(self, executions: Iterable[Execution]) -> None:
        """Asks for all layers that nobody asked for yet, at once: one by one that takes long."""
        asked = {e: along_kept(e) for e in executions if e not in self._known}
        points = [e for curve in asked.values() for e in curve.executions]
        new = [e for e in dict.fromkeys(points) if e not in self._points]
        self._points.update(zip(new, self._answer(new) if new else (), strict=True))
        for execution, curve in asked.items():
            found = [self._points[e] for e in curve.executions]
            ms = curve.at(np.array([one.median_ms for one in found]))
            near = found[curve.place]
            self._known[execution] = Estimate(
                median_ms=ms,
                low_ms=ms * near.low_ms / near.median_ms,
                high_ms=ms * near.high_ms / near.median_ms,
                origin=near.origin,
            )


def total(parts: Sequence[Estimate]) -> Estimate:
    """Several steps together; extrapolated where one of them is. They come from one model and err together."""
    return Estimate(
        median_ms=sum(part.median_ms for part in parts),
        low_ms=sum(part.low_ms for part in parts),
        high_ms=sum(part.high_ms for part in parts),
        origin="extrapolated" if any(part.origin == "extrapolated" for part in parts) else "predicted",
    )
