"""How far a carried-over table is off: each of the new machine's pieces predicted without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from advisor.devices.model.step_model import StepModel, class_of
from advisor.devices.suite.table import step_times
from advisor.devices.transfer.device.features import means
from advisor.devices.transfer.device.refit import coefficients_of, refit

if TYPE_CHECKING:
    from advisor.devices.steps.step import Step
    from advisor.devices.suite.table import PieceTimes, Table
    from advisor.devices.transfer.device.pairs import Pairs
    from advisor.devices.transfer.device.ratio import StepRatio
    from advisor.devices.transfer.features import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Of one table, log(measured / predicted).

    Attributes:
        wholes: (P,) of whole pieces, beside their `concentration` (see `Between`).
        one_factor: (P,) the same, had one factor for everything been learned.
        steps: class → of single steps.
        ratios: (S,) of single steps, had their times on the old machine been known exactly.
    """

    wholes: Floats
    concentration: Floats
    one_factor: Floats
    steps: dict[str, Floats]
    ratios: Floats


def left_out(pairs: Pairs, folds: Sequence[int], models: Sequence[StepRatio]) -> LeftOut:
    """What the table's pieces would have been predicted to take, by what saw neither their steps on the old machine
    nor anything of them on the new one: the suite's own learner with the piece left out, times the ratio of `models`
    with the piece's fold left out.

    Args:
        folds: one for each of `pairs.found`; `models`: by fold, learned without it.
    """
    table, found = pairs.table, pairs.found
    guess = _guesses(table)
    wholes, shares, flat, ratios = [], [], [], []
    steps: dict[str, list[float]] = {}
    for index, pair in enumerate(found):
        model, now, before = models[folds[index]], means(pair.new), means(pair.old)
        # Of steps that the learner does not know the time itself: they are few, and views are none.
        held = [step for step in now if step in before]
        old_ms = [guess.get((pair.old.number, step), before[step]) for step in held]
        ratio = model(held, [before[step] for step in held], table)
        predicted = dict(zip(held, np.array(old_ms) * np.exp(ratio), strict=True))
        for step, log_ratio in zip(held, ratio, strict=True):
            if now[step] > 0 and before[step] > 0 and predicted[step] > 0:
                steps.setdefault(class_of(step), []).append(float(np.log(now[step] / predicted[step])))
                ratios.append(float(np.log(now[step] / before[step]) - log_ratio))
        rest = [other.new for i, other in enumerate(found) if folds[i] != folds[index]]
        coefficients = refit(table.between, rest) if rest else coefficients_of(table.between)
        taken = _times(pair.new, predicted, now)
        whole = _whole(pair.new, taken, coefficients)
        wholes.append(np.log(pair.new.whole_ms / whole))
        shares.append(float((taken**2).sum()) / whole**2)
        alone = _times(pair.old, dict(zip(held, old_ms, strict=True)), before)
        plain = model.whole_factor * _whole(pair.old, alone, coefficients_of(table.between))
        flat.append(np.log(pair.new.whole_ms / plain))
    return LeftOut(
        wholes=np.array(wholes),
        concentration=np.array(shares),
        one_factor=np.array(flat),
        steps={name: np.array(errors) for name, errors in steps.items()},
        ratios=np.array(ratios),
    )


def _guesses(table: Table) -> dict[tuple[int, Step], float]:
    """(piece, step) → ms on the old machine by learners that saw nothing of the piece."""
    model = StepModel(step_times(table.pieces))
    predicted, _, _ = model.left_out()
    return {
        key: float(np.exp(log)) for key, log in zip(model.measured_keys, predicted, strict=True) if np.isfinite(log)
    }


def _times(piece: PieceTimes, predicted: dict[Step, float], known: dict[Step, float]) -> Floats:
    return np.array([predicted.get(step, known.get(step, 0.0)) for step in piece.steps if step.family != "view"])


def _whole(piece: PieceTimes, ms: Floats, coefficients: Floats) -> float:
    total = float(ms.sum())
    return max(total + float(piece.counts.row(total) @ coefficients), 1e-9)
