"""What the suite measured under one setting: the operators of every piece in place, and every piece as a whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from advisor.devices.measuring.drift import Pace
from advisor.devices.model.step_model import StepTimes
from advisor.devices.model.sums import Between, Counts
from advisor.devices.steps.document import step_document, step_from
from advisor.devices.steps.step import Step
from advisor.errors import ProfileError

_WIDEST = 20.0  # e to the power of it is more than any time is off by
_MOST = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class PieceTimes:
    """One piece on the clock. `ms` (S,): medians of its steps, drift divided out; `whole_ms`: without a stopwatch."""

    number: int
    variant: str  # "dense", "sparse"
    steps: tuple[Step, ...]
    ms: np.ndarray
    whole_ms: float
    counts: Counts

    @property
    def kernels_ms(self) -> float:
        """The steps that run kernels, summed."""
        return float(sum(ms for step, ms in zip(self.steps, self.ms, strict=True) if step.family != "view"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Everything under one number of threads, at inference or in training, and what was learnt of its errors.

    Attributes:
        between: what lies between steps, see `Between`.
        intervals: class of steps → 80 % range of log(measured / predicted) for a single step, left out.
        pace: how fast the machine was: the times are those of the quiet part of the session.
        error: how far predictions of left-out pieces are off, for people.
    """

    threads: int
    training: bool
    pieces: tuple[PieceTimes, ...]
    between: Between
    intervals: Mapping[str, tuple[float, float]]
    pace: Pace
    error: Mapping[str, float | int] = field(default_factory=dict)

    @property
    def measured(self) -> int:
        """How many distinct operators it holds times of."""
        return len({step for piece in self.pieces for step in piece.steps if step.family != "view"})

    @property
    def text(self) -> str:
        """ "1 thread, inference"."""
        threads = f"{self.threads} thread" + ("" if self.threads == 1 else "s")
        return f"{threads}, {'training' if self.training else 'inference'}"


def error_of(tables: Sequence[Table]) -> dict[str, float | int | str]:
    """What a profile says of its own error: that of its first table; "median_percent" is of whole networks."""
    first = tables[0].error
    return {**first, **({"median_percent": first["whole_median_percent"]} if first else {})}


def step_times(pieces: tuple[PieceTimes, ...]) -> StepTimes:
    """All steps of all pieces; a step that a piece runs several times counts once, by the mean of its medians."""
    steps: list[Step] = []
    ms: list[float] = []
    numbers: list[int] = []
    for piece in pieces:
        total: dict[Step, float] = {}
        counts = Counter(piece.steps)
        for step, taken in zip(piece.steps, piece.ms, strict=True):
            total[step] = total.get(step, 0.0) + float(taken)
        for step, taken in total.items():
            steps.append(step)
            ms.append(taken / counts[step])
            numbers.append(piece.number)
    return StepTimes(steps=tuple(steps), ms=np.array(ms), pieces=np.array(numbers, dtype=int))


def table_document(table: Table) -> dict[str, Any]:
    """The table as plain JSON values; distinct steps stand once."""
    places: dict[Step, int] = {}
    for piece in table.pieces:
        for step in piece.steps:
            places.setdefault(step, len(places))
    return {
        "threads": table.threads,
        "training": table.training,
        "steps": [step_document(step) for step in places],
        "pieces": [
            {
                "number": piece.number,
                "variant": piece.variant,
                "whole_ms": _short(piece.whole_ms),
                "module_calls": piece.counts.module_calls,
                "order": [places[step] for step in piece.steps],
                "ms": [_short(float(ms)) for ms in piece.ms],
            }
            for piece in table.pieces
        ],
        "between": table.between.to_json(),
        "intervals": {name: list(ends) for name, ends in table.intervals.items()},
        "pace": asdict(table.pace),
        "error": dict(table.error),
    }


def table_from(document: Mapping[str, Any], where: str) -> Table:
    """The reverse of `table_document`.

    Raises:
        ProfileError: it makes no sense, said in one line.
    """
    try:
        steps = [step_from(item) for item in document["steps"]]
        pieces = tuple(_piece_from(item, steps) for item in document["pieces"])
        if not pieces:
            raise ValueError("it holds no pieces")
        return Table(
            threads=int(document["threads"]),
            training=bool(document["training"]),
            pieces=pieces,
            between=_between_from(document["between"]),
            intervals={str(name): _ends(name, *ends) for name, ends in document["intervals"].items()},
            pace=Pace(**document["pace"]),
            error=dict(document["error"]),
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise ProfileError(f"profile {where}: a table of the suite makes no sense: {error}; make it anew") from error


def _between_from(document: Mapping[str, Any]) -> Between:
    found = Between(**document)
    _ends("between", found.below, found.above)
    for name, value in document.items():
        if name not in ("below", "above") and not 0 <= value <= _MOST:
            raise ValueError(f"between: {name}={value}; expected 0 or more")
    return found


def _ends(name: str, low: float, high: float) -> tuple[float, float]:
    """Both ends of a range of logarithms."""
    if not -_WIDEST <= low <= high <= _WIDEST:
        raise ValueError(f"{name}: {low} to {high} is no interval of logarithms")
    return float(low), float(high)


def _piece_from(document: Mapping[str, Any], steps: list[Step]) -> PieceTimes:
    number, order, times = document["number"], document["order"], document["ms"]
    whole = float(document["whole_ms"])
    if any(type(index) is not int or not 0 <= index < len(steps) for index in order):
        raise ValueError(f"piece {number}: its order names steps that are not there")
    # Types first: numpy would read texts as numbers.
    known = all(type(taken) in (int, float) for taken in times)
    if not known or len(times) != len(order) or not order or not whole > 0:
        raise ValueError(f"piece {number}: {len(order)} steps, {len(times)} times, whole {whole} ms")
    ms = np.array(times, dtype=np.float64)
    if not (np.isfinite(ms).all() and (ms >= 0).all()):
        raise ValueError(f"piece {number}: a time of {ms.min()} ms")
    held = tuple(steps[index] for index in order)
    return PieceTimes(
        number=int(number),
        variant=str(document["variant"]),
        steps=held,
        ms=ms,
        whole_ms=whole,
        counts=Counts.of_steps(held, int(document["module_calls"])),
    )


def _short(value: float) -> float:
    """Four significant digits: a median is not known better, and the file is half as long."""
    return float(f"{value:.4g}")
