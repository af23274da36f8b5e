"""The time of any step from steps that were measured in place on the same device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from advisor.devices.model.law import works_of
from advisor.devices.model.learner import Learner
from advisor.devices.model.rows import rows as rows_of

if TYPE_CHECKING:
    from advisor.devices.steps.step import Step

Class = Literal["dense", "sparse", "product", "operator"]
CLASSES: tuple[Class, ...] = ("dense", "sparse", "product", "operator")
_FOLDS = 5


def class_of(step: Step) -> Class:
    """Which learner a step belongs to; views are nobody's."""
    if "sparse_" in step.target:
        return "sparse"
    if step.family == "layer":
        return "dense"
    return "product" if step.family == "product" else "operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTimes:
    """What was measured: step by step, each beside the number of the piece that it ran in."""

    steps: tuple[Step, ...]
    ms: np.ndarray  # (S,)
    pieces: np.ndarray  # (S,) integers


class StepModel:
    """Learns from `StepTimes`; one learner for each class of steps, fitted when first asked for.

    `trees`: see `Learner`.
    """

    def __init__(self, times: StepTimes, *, trees: bool = True) -> None:
        self._trees = trees
        seen = [i for i, step in enumerate(times.steps) if step.family != "view" and times.ms[i] > 0]
        kept = np.array(seen, dtype=int)
        self._steps = [times.steps[i] for i in seen]
        self._log, self._pieces = np.log(times.ms[kept]), times.pieces[kept]
        self._classes = np.array([class_of(step) for step in self._steps])
        self.targets = {name: i for i, name in enumerate(sorted({step.target for step in self._steps}))}
        self._learners: dict[Class, Learner | None] = {}

    @cached_property
    def _distinct(self) -> tuple[list[Step], list[int]]:
        """The distinct steps, and the place of each measured one among them."""
        places = {step: place for place, step in enumerate(dict.fromkeys(self._steps))}
        return list(places), [places[step] for step in self._steps]

    @cached_property
    def _rows(self) -> np.ndarray:
        distinct, places = self._distinct
        return rows_of(distinct)[places]

    @cached_property
    def _work(self) -> np.ndarray:
        distinct, places = self._distinct
        return works_of(distinct)[places]

    @cached_property
    def _numbers(self) -> np.ndarray:
        return np.array([self.targets[step.target] for step in self._steps], dtype=int)

    def learner(self, name: Class) -> Learner | None:
        """The learner of a class; None where nothing of it was measured."""
        if name not in self._learners:
            mine = self._classes == name
            self._learners[name] = self._fit(mine) if mine.any() else None
        return self._learners[name]

    def _fit(self, mine: np.ndarray) -> Learner:
        return Learner(
            self._rows[mine],
            self._numbers[mine],
            self._log[mine],
            known=len(self.targets),
            work=self._work[mine],
            trees=self._trees,
        )

    def __call__(self, steps: Sequence[Step]) -> tuple[np.ndarray, np.ndarray]:
        """(S,) milliseconds of each step, 0 for views; and (S,) whether it lies beyond what was measured."""
        ms, beyond = np.zeros(len(steps)), np.zeros(len(steps), dtype=bool)
        for name in CLASSES:
            asked = [i for i, step in enumerate(steps) if step.family != "view" and class_of(step) == name]
            if not asked:
                continue
            learner = self.learner(name) or self.learner("operator") or self.learner("dense")
            if learner is None:
                beyond[asked] = True
                continue
            rows = rows_of([steps[i] for i in asked])
            numbers = np.array([self.targets.get(steps[i].target, -1) for i in asked], dtype=int)
            ms[asked] = np.exp(learner(rows, numbers, works_of([steps[i] for i in asked])))
            beyond[asked] = learner.outside(rows) | (numbers < 0) | (self.learner(name) is None)
        return ms, beyond

    def left_out(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Predictions of every measured step by learners that saw nothing of its piece.

        Returns:
            (S,) log predicted, (S,) log measured, (S,) pieces; in the order of `classes`.
        """
        predicted = np.full(len(self._log), np.nan)
        order = {piece: i % _FOLDS for i, piece in enumerate(sorted(set(self._pieces.tolist())))}
        fold = np.array([order[piece] for piece in self._pieces.tolist()])
        for name in CLASSES:
            mine = self._classes == name
            for index in range(_FOLDS):
                held, seen = mine & (fold == index), mine & (fold != index)
                if held.any() and seen.any():
                    predicted[held] = self._fit(seen)(self._rows[held], self._numbers[held], self._work[held])
        return predicted, self._log, self._pieces

    @property
    def measured_keys(self) -> list[tuple[int, Step]]:
        """(S,) piece and step of each measured step that is no view: what `left_out` speaks of."""
        return list(zip(self._pieces.tolist(), self._steps, strict=True))

    @property
    def classes(self) -> np.ndarray:
        """(S,) class of each measured step that is no view."""
        return self._classes
