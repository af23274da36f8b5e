"""Pieces that both machines ran, step beside step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from advisor.devices.measuring.drift import quiet_pace
from advisor.devices.suite.records import piece_of
from advisor.devices.transfer.device.features import cell_of, long_enough, means, step_rows

if TYPE_CHECKING:
    from advisor.devices.suite.table import PieceTimes, Table
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
    for record in ran:
        pace = quiet_pace(ran, slope=table.pace.slope)
        reference_ms = float(record["reference_ms"])
        noisy += pace.is_noisy(reference_ms)
        new = piece_of(record, 1 / pace.slower(reference_ms))
        pair = _pair(known[new.number, new.variant], new, table)
        if pair is None:
            refused.append(f"{record['key']} runs other operators here than where the profile was made")
        else:
            found.append(pair)
    return Pairs(table=table, found=tuple(found), records=ran, refused=tuple(refused), noisy=noisy)


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
