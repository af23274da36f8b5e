"""Pieces on the clock as lines of a journal, and from a journal's lines to tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from advisor.devices.measuring.drift import Pace, pace_of
from advisor.devices.model.sums import Counts, between, fit_coefficients, fit_spread
from advisor.devices.steps.document import step_document, step_from
from advisor.devices.suite.table import PieceTimes, Table, step_times

if TYPE_CHECKING:
    from advisor.devices.suite.piece_times import Timed

_MOST = 1e12  # of any number in a record
_FEWEST = 10  # pieces below which a table says nothing about whole networks


def key_of(number: int, variant: str, threads: int, training: bool) -> str:
    return f"piece:{number}:{variant}:{threads}:{'training' if training else 'inference'}"


def record_of(timed: Timed) -> dict[str, Any]:
    """What a journal keeps of one piece beside its key and the seconds that it took."""
    return {
        "steps": [step_document(step) for step in timed.recording.steps],
        "ms": [float(f"{ms:.5g}") for ms in timed.steps_ms],
        "whole_ms": timed.whole_ms,
        "reference_ms": timed.reference.median_ms,
        "reference_spread": timed.reference.spread,
        "together": timed.together,
        "module_calls": timed.recording.module_calls,
        "waited": timed.waited,
    }


def piece_problem(record: dict[str, Any]) -> str:
    """What makes this no record of a piece; empty where nothing does."""
    parts = str(record["key"]).split(":")
    if len(parts) != 5 or not (parts[1].isdecimal() and parts[3].isdecimal()):
        return f"record {str(record['key'])[:80]!r} names no piece"
    numbers = ["seconds"] if "failed" in record else ["seconds", "whole_ms", "reference_ms"]
    for name in numbers:
        value: Any = record.get(name)
        if not _is_number(value) or not value > 0:
            return f"record {record['key']!r} has {name}={str(value)[:40]}, expected a number above 0"
    if "failed" in record:
        return ""
    try:
        steps, times = [step_from(item) for item in record["steps"]], record["ms"]
        if len(steps) != len(times) or not steps:
            return f"record {record['key']!r} has {len(steps)} steps and {len(times)} times"
        if any(not _is_number(ms) or ms < 0 for ms in times):
            return f"record {record['key']!r} has a time that is no number of 0 or more"
        if type(record["module_calls"]) is not int or record["module_calls"] < 0:
            return f"record {record['key']!r} has module_calls={str(record['module_calls'])[:40]}"
        both = record.get("together", [0.0, 0.0])
        if type(both) is not list or len(both) != 2 or not all(map(_is_number, both)):
            return f"record {record['key']!r} has together={str(both)[:40]}, expected two numbers"
        for name in ("reference_spread", "waited"):
            if not _is_number(record.get(name, 0.0)) or record.get(name, 0.0) < 0:
                return f"record {record['key']!r} has {name}={str(record[name])[:40]}, expected 0 or more"
    except Exception as error:
        return f"record {record['key']!r} describes no steps ({' '.join(str(error).split())[:120]})"
    return ""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MOST


def tables_of(records: Sequence[dict[str, Any]]) -> tuple[Table, ...]:
    """One table for each number of threads and kind of run, the least threads at inference first.

    Drift is divided out: times become those of the quiet part of the session (see `drift.pace_of`).
    """
    groups: dict[tuple[bool, int], list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        if "failed" not in record:
            _, _, _, threads, kind = str(record["key"]).split(":")
            groups[kind == "training", int(threads)].append(record)
    return tuple(
        _table(found, threads=threads, training=training)
        for (training, threads), found in sorted(groups.items())
        if len(found) >= _FEWEST
    )


def _table(records: list[dict[str, Any]], *, threads: int, training: bool) -> Table:
    references = np.array([float(record["reference_ms"]) for record in records])
    pace = _pace(tuple(piece_of(record, 1.0) for record in records), references)
    pieces = tuple(
        piece_of(record, 1 / pace.slower(reference)) for record, reference in zip(records, references, strict=True)
    )
    noisy = sum(pace.is_noisy(reference) for reference in references.tolist())
    return table_of(pieces, pace, noisy, threads=threads, training=training)


def table_of(pieces: tuple[PieceTimes, ...], pace: Pace, noisy: int, *, threads: int, training: bool) -> Table:
    """What is learnt of pieces whose times are those of the quiet part of a session; `noisy` of them had to be scaled
    for something else that ran.
    """
    from advisor.devices.model.step_model import StepModel

    model = StepModel(step_times(pieces))
    predicted, measured, _ = model.left_out()
    known = np.isfinite(predicted)
    error = predicted - measured
    intervals = {
        str(name): _ends(-error[known & (model.classes == name)]) for name in sorted(set(model.classes.tolist()))
    }
    wholes = np.array([piece.whole_ms for piece in pieces])
    kernels = np.array([piece.kernels_ms for piece in pieces])
    counts = [piece.counts for piece in pieces]
    coefficients = fit_coefficients(counts, kernels, wholes)
    # What the steps are predicted to take by learners that saw nothing of their piece, summed over each piece.
    guess = dict(zip(model.measured_keys, predicted, strict=True))
    errors, shares = [], []
    for piece in pieces:
        steps_ms = np.array(
            [np.exp(guess.get((piece.number, step), np.nan)) for step in piece.steps if step.family != "view"]
        )
        if not len(steps_ms) or not np.isfinite(steps_ms).all():
            continue
        total = float(steps_ms.sum())
        whole = total + float(piece.counts.row(total) @ coefficients)
        errors.append(np.log(piece.whole_ms / whole))
        shares.append(float((steps_ms**2).sum()) / whole**2)
    left = np.array(errors)
    spread = fit_spread(left, np.array(shares))
    percent = 100 * np.abs(np.expm1(-left))
    layers = known & (model.classes != "operator")
    return Table(
        threads=threads,
        training=training,
        pieces=pieces,
        between=between(coefficients, spread),
        intervals=intervals,
        pace=pace,
        error={
            "pieces": len(pieces),
            "steps": int(known.sum()),
            "noisy_pieces": noisy,
            "whole_median_percent": round(float(np.median(percent)), 2),
            "whole_within_10_percent": round(100 * float((percent <= 10).mean()), 1),
            "layer_median_percent": round(100 * float(np.median(np.abs(np.expm1(error[layers])))), 2),
        },
    )


def _pace(pieces: Sequence[PieceTimes], references: np.ndarray) -> Pace:
    """How the pieces slow down with the reference, by lines that saw nothing of each."""
    from advisor.devices.model.step_model import StepModel

    model = StepModel(step_times(tuple(pieces)), trees=False)
    predicted, _, _ = model.left_out()
    guess = dict(zip(model.measured_keys, predicted, strict=True))
    errors = []
    for piece in pieces:
        logs = [guess.get((piece.number, step), np.nan) for step in piece.steps if step.family != "view"]
        errors.append(np.log(piece.kernels_ms / np.exp(logs).sum()) if logs and piece.kernels_ms else np.nan)
    return pace_of(references, np.array(errors))


def piece_of(record: dict[str, Any], scale: float) -> PieceTimes:
    """A journal's piece, its times multiplied by `scale`."""
    _, number, variant, _, _ = str(record["key"]).split(":")
    steps = tuple(step_from(item) for item in record["steps"])
    return PieceTimes(
        number=int(number),
        variant=variant,
        steps=steps,
        ms=np.array(record["ms"], dtype=np.float64) * scale,
        whole_ms=float(record["whole_ms"]) * scale,
        counts=Counts.of_steps(steps, int(record["module_calls"])),
    )


def _ends(residuals: np.ndarray) -> tuple[float, float]:
    from advisor.devices.predicting.predict import interval

    return interval(residuals) if len(residuals) >= 8 else (-0.7, 0.7)
