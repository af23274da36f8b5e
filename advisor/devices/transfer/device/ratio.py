"""How two machines differ, step by step, and how far that is off for pieces that it was not learned from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from advisor.devices.transfer.device.features import step_rows
from advisor.devices.transfer.features import Floats, Scale
from advisor.devices.transfer.model import RatioModel

if TYPE_CHECKING:
    from advisor.devices.steps.step import Step
    from advisor.devices.suite.table import Table
    from advisor.devices.transfer.device.pairs import Pair

FOLDS = 5
_CHUNK = 20_000  # rows at a time: a table holds many


class StepRatio:
    """log(new / old) of any step, learned from `pairs` of all tables together."""

    def __init__(self, pairs: Sequence[Pair], scale: Scale) -> None:
        self._model = RatioModel(
            np.vstack([pair.rows for pair in pairs]), np.concatenate([pair.logs for pair in pairs]), scale
        )
        wholes = [np.log(pair.new.whole_ms / pair.old.whole_ms) for pair in pairs]
        self.whole_factor = float(np.exp(np.median(wholes)))  # what one factor alone would say of whole pieces

    @property
    def one_factor(self) -> bool:
        """Whether nothing but a factor was learned."""
        return self._model.one_factor

    @property
    def factor(self) -> float:
        return self._model.factor

    def __call__(self, steps: Sequence[Step], ms: Sequence[float], table: Table) -> Floats:
        """(S,) of each step, given its time on the old machine; those of views mean nothing."""
        if not len(steps):
            return np.zeros(0)
        rows = step_rows(steps, ms, table)
        parts = [self._model(rows[start : start + _CHUNK])[0] for start in range(0, len(rows), _CHUNK)]
        return np.concatenate(parts)


def fold_of(pairs: Sequence[Pair]) -> list[int]:
    """A fold for each pair; both variants of a piece are in one."""
    numbers = sorted({pair.old.number for pair in pairs})
    place = {number: index % FOLDS for index, number in enumerate(numbers)}
    return [place[pair.old.number] for pair in pairs]
