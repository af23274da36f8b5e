"""What the ratio of two machines' times may depend on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from advisor.runtime.execution import Execution

Floats = npt.NDArray[np.float64]
_FLOOR = 0.3  # of a column's spread: kinds that occur once must not lie at infinity


def rows_of(executions: Sequence[Execution], ms: Sequence[float]) -> Floats:
    """(N, F): logs of arithmetic, positions, outputs and inputs; how efficient the old machine was; what it is.

    Args:
        ms: times on the old machine, beside the executions. MACs per ms tell which of its limits the work met.
    """
    return np.array([_row(e, t) for e, t in zip(executions, ms, strict=True)], dtype=np.float64).reshape(-1, _COLUMNS)


def _row(e: Execution, ms: float) -> list[float]:
    macs = math.log(max(e.macs, 1))
    taps = math.prod(e.weight_shape[2:])
    outputs = e.out_channels
    positions = math.prod(e.output_shape) // outputs
    depthwise = e.groups > 1 and e.weight_shape[1] == 1
    inputs = e.macs / max(positions * outputs * taps, 1)  # that each output reads, kept ones alone
    return [
        macs,
        math.log(max(positions, 1)),
        math.log(outputs),
        math.log(max(inputs, 1)),
        math.log(ms) - macs,
        math.log(taps),
        float(depthwise),
        float(e.kind == "linear"),
        float(e.method == "direct"),
        float(e.method in ("gather", "packed")),
    ]


_COLUMNS = 10


@dataclass(frozen=True, slots=True)
class Scale:
    """Brings columns to zero mean and about unit spread, as all work of a profile lies."""

    mean: Floats
    spread: Floats

    @classmethod
    def of(cls, rows: Floats) -> Scale:
        return cls(rows.mean(axis=0), np.maximum(rows.std(axis=0), _FLOOR))

    def __call__(self, rows: Floats) -> Floats:
        """The same rows, scaled."""
        scaled: Floats = (rows - self.mean) / self.spread
        return scaled
