"""What to measure next: the forms of layers that could still be in a best plan, by how little is known of them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advisor.devices.predicting.predict import Predictor

if TYPE_CHECKING:
    from advisor.devices.measuring.work import Task
    from advisor.devices.profile import Measurement
    from advisor.runtime.execution import Execution

_FEWEST = 12  # measurements below which a predictor knows too little to choose by
_WANTED = 10.0  # times the most that anything else is worth
_HOPEFUL = 0.05  # what a form counts that no plan is likely to want, beside one that plans may


@dataclass(frozen=True, slots=True, kw_only=True)
class _Guess:
    median_ms: float
    low_ms: float
    high_ms: float


def next_worths(
    tasks: Sequence[Task],
    waiting: Set[str],
    known: Mapping[str, Measurement],
    before: Mapping[str, float],
    wanted: Set[str] = frozenset(),
) -> dict[str, float]:
    """Key → what measuring it is worth now, for every task of `waiting`.

    Only those forms of a layer can be in a best plan that no other one surely beats: one that keeps at least as many
    connections in blocks no coarser, and takes less time even at the upper end of its interval. What is not known about
    a form is the width of its predicted interval, times how many layers run it; of those that surely are beaten a
    twentieth counts. A measurement tells of its whole family, the forms that differ in the number of connections
    alone, so it counts what is not known about all of them, and most where the family is known least: in its middle,
    then farthest from what is known. The predictor is refitted each time; before there is enough for it, `before` (see
    `work.worths`) decides.

    Args:
        known: execution key → its time; measured ones alone.
        wanted: what plans would choose now (see `scout`): it goes before everything else.
    """
    found = _worths(tasks, waiting, known, before)
    most = max(found.values(), default=0.0)
    return {key: value + (_WANTED * most if key in wanted else 0.0) for key, value in found.items()}


def _worths(
    tasks: Sequence[Task], waiting: Set[str], known: Mapping[str, Measurement], before: Mapping[str, float]
) -> dict[str, float]:
    left = [task for task in tasks if task.execution.key in waiting]
    if len(known) < _FEWEST:
        return {task.execution.key: before.get(task.execution.key, 0.0) for task in left}
    predictor = Predictor(list(known.values()))
    guesses = {task.execution.key: _guess(task.execution, known, predictor) for task in tasks}
    layers: dict[tuple[object, ...], list[Task]] = defaultdict(list)
    for task in tasks:
        layers[_layer(task.execution)].append(task)
    worth: dict[str, float] = {}
    for forms in layers.values():
        dense_ms = _dense_ms(forms, guesses)
        families: dict[tuple[object, ...], list[Task]] = defaultdict(list)
        for task in forms:
            families[task.execution.method, task.execution.block].append(task)
        for family in families.values():
            unknown = sum(_unknown(t, forms, guesses, dense_ms) for t in family if t.execution.key in waiting)
            for task, share in _spread_out(family, waiting):
                # Where every interval has no width, any order does.
                worth[task.execution.key] = max(unknown * share, 1e-12)
    return worth


def _unknown(task: Task, forms: Sequence[Task], guesses: Mapping[str, _Guess], dense_ms: float) -> float:
    """Width of the interval of all layers that run it, in ms; how far beyond twice the dense layer hardly matters."""
    guess = guesses[task.execution.key]
    calls = task.dense_macs / max(_macs(task.execution), 1)
    width = min(guess.high_ms, 2 * dense_ms) - min(guess.low_ms, 2 * dense_ms)
    return calls * width * (1.0 if _may_be_best(task, forms, guesses) else _HOPEFUL)


def _spread_out(family: Sequence[Task], waiting: Set[str]) -> list[tuple[Task, float]]:
    """The waiting members, and which share of what is unknown each of them tells: 1 for the most telling one."""
    members = sorted(family, key=lambda t: (math.log(max(t.execution.macs, 1)), t.execution.key))
    at = [math.log(max(t.execution.macs, 1)) for t in members]
    seen = [x for x, t in zip(at, members, strict=True) if t.execution.key not in waiting]
    if seen:
        away = [min(abs(x - y) for y in seen) for x in at]
    else:
        middle = (at[0] + at[-1]) / 2
        away = [1.0 / (1.0 + abs(x - middle)) for x in at]
    most = max((d for d, t in zip(away, members, strict=True) if t.execution.key in waiting), default=0.0)
    return [
        (t, d / most if most > 0 else 1.0) for d, t in zip(away, members, strict=True) if t.execution.key in waiting
    ]


def _guess(execution: Execution, known: Mapping[str, Measurement], predictor: Predictor) -> _Guess:
    m = known.get(execution.key)
    if m is not None:
        return _Guess(median_ms=m.median_ms, low_ms=m.median_ms, high_ms=m.median_ms)
    estimate = predictor(execution)
    return _Guess(median_ms=estimate.median_ms, low_ms=estimate.low_ms, high_ms=estimate.high_ms)


def _layer(e: Execution) -> tuple[object, ...]:
    """The same layer whatever its form; a narrower one is a layer of its own."""
    if e.method == "dense":
        return (e.kind, e.input_shape, e.weight_shape, e.stride, e.dilation, e.groups)
    return (e.kind, e.input_shape, e.weight_shape, e.stride, e.dilation, 1)


def _dense_ms(forms: Sequence[Task], guesses: Mapping[str, _Guess]) -> float:
    found = [guesses[t.execution.key].median_ms for t in forms if t.execution.method == "dense"]
    return min(found, default=math.inf)


def _macs(e: Execution) -> int:
    """Of the dense layer that a form stands for."""
    return math.prod(e.output_shape) * e.in_channels // max(e.groups, 1) * math.prod(e.weight_shape[2:])


def _may_be_best(task: Task, forms: Sequence[Task], guesses: Mapping[str, _Guess]) -> bool:
    """Whether no form that keeps at least as much, in blocks no coarser, is surely quicker."""
    mine = guesses[task.execution.key]
    rivals = [
        other
        for other in forms
        if other is not task
        and other.density >= task.density * (1 - 1e-9)
        and other.execution.block <= task.execution.block
    ]
    return all(guesses[rival.execution.key].high_ms >= mine.low_ms for rival in rivals)
