"""Pieces that both machines ran, step beside step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from advisor.devices.measuring.drift import drifts, is_noisy
from advisor.devices.model.sums import Counts
from advisor.devices.steps.document import step_from
from advisor.devices.suite.table import PieceTimes
from advisor.devices.transfer.device.features import cell_of, long_enough, means, step_rows

if TYPE_CHECKING:
    from advisor.devices.suite.table import Table
    from advisor.devices.transfer.features import Floats

_SAME = 0.8  # share of a piece's time in steps that both machines run, below which it is another network


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One piece on the old machine and on the new one. `rows` (N, F) and `logs` (N,) log(new / old) of its cells."""

    old: PieceTimes
    new: PieceTimes
    rows: Floats
    logs: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Of one table. `refused`: pieces that say nothing, as sentences; `noisy`: how many something else disturbed."""

    table: Table
    found: tuple[Pair, ...]
    records: tuple[dict[str, Any], ...]
    refused: tuple[str, ...]
    noisy: int


def pairs_of(table: Table, records: Sequence[dict[str, Any]]) -> Pairs:
    """The pieces of `table` among records that `suite.records.record_of` made on the new machine, drift taken out."""
    refused = [f"{r['key']} did not run here: {r['failed']}" for r in records if "failed" in r]
    ran = tuple(record for record in records if "failed" not in record)
    known = {(piece.number, piece.variant): piece for piece in table.pieces}
    found, noisy = [], 0
    for record, drift in zip(ran, drifts(ran) if ran else (), strict=True):
        noisy += is_noisy(record, drift)
        new = _piece(record, drift.scale)
        pair = _pair(known[new.number, new.variant], new, table)
        if pair is None:
            refused.append(f"{record['key']} runs other operators here than where the profile was made")
        else:
            found.append(pair)
    return Pairs(table=table, found=tuple(found), records=ran, refused=tuple(refused), noisy=noisy)


def _piece(record: dict[str, Any], scale: float) -> PieceTimes:
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


def _pair(old: PieceTimes, new: PieceTimes, table: Table) -> Pair | None:
    before, now = means(old), means(new)
    both = [step for step in before if step in now]
    if sum(before[step] for step in both) < _SAME * sum(before.values()):
        return None
    cells: dict[object, list[int]] = {}
    for index, step in enumerate(both):
        if long_enough((before[step], now[step])):
            cells.setdefault(cell_of(step), []).append(index)
    if not cells:
        return None
    rows = step_rows(both, [before[step] for step in both], table)
    # Of a cell the ratio of the sums: single steps are noisy, and it is sums that a profile is asked for.
    logs = [
        np.log(sum(now[both[i]] for i in members) / sum(before[both[i]] for i in members)) for members in cells.values()
    ]
    middle = np.array([rows[members].mean(axis=0) for members in cells.values()])
    return Pair(old=old, new=new, rows=middle, logs=np.array(logs))
