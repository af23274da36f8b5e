"""What the ratio of two machines' times of a step may depend on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from advisor.devices.model.step_model import class_of
from advisor.devices.transfer.features import Floats

if TYPE_CHECKING:
    from advisor.devices.steps.step import Step
    from advisor.devices.suite.table import PieceTimes, Table

_WIDTH = 2.0  # of a cell, in log bytes and log MACs per byte
_INTENSITIES = (-3.0, 7.0)  # log MACs per byte
_SHORTEST_MS = 2e-4  # the stopwatch's own grain: nothing is learned from what is shorter
Cell = tuple[str, bool, int, int]


def step_rows(steps: Sequence[Step], ms: Sequence[float], table: Table) -> Floats:
    """(N, F): class of the step, logs of bytes and MACs per byte, how fast the old machine was, and how it ran.

    Args:
        ms: times on the old machine, beside the steps.
        table: under which number of threads, and whether in training.
    """
    run = (math.log2(table.threads), float(table.training))
    return np.array([[*_row(s, t), *run] for s, t in zip(steps, ms, strict=True)], dtype=np.float64).reshape(-1, 9)


def _row(step: Step, ms: float) -> tuple[float, ...]:
    kind, moved = class_of(step), math.log(max(step.bytes_moved, 1))
    speed = math.log(max(ms, _SHORTEST_MS)) - moved
    return (
        float(kind == "dense"),
        float(kind == "sparse"),
        float(kind == "product"),
        moved,
        _intensity(step),
        speed,
        float(step.backward),
    )


def _intensity(step: Step) -> float:
    """log MACs per byte; 0 of a step without any."""
    if not step.macs:
        return 0.0
    return float(np.clip(math.log(step.macs / max(step.bytes_moved, 1)), *_INTENSITIES))


def cell_of(step: Step) -> Cell:
    """Steps of one cell are alike as far as machines differ."""
    moved = round(math.log(max(step.bytes_moved, 1)) / _WIDTH)
    return class_of(step), step.backward, moved, round(_intensity(step) / _WIDTH)


def means(piece: PieceTimes) -> dict[Step, float]:
    """Distinct steps that run kernels → mean of their times."""
    total: dict[Step, list[float]] = {}
    for step, ms in zip(piece.steps, piece.ms, strict=True):
        if step.family != "view":
            total.setdefault(step, []).append(float(ms))
    return {step: sum(times) / len(times) for step, times in total.items()}


def long_enough(times: Iterable[float]) -> bool:
    """Whether all of these are times that something can be learned from."""
    return min(times) > _SHORTEST_MS
