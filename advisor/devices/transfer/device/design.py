"""Which pieces of the suite to run on a new machine: few that hold steps of every kind, short ones preferred."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advisor.devices.suite.records import key_of
from advisor.devices.transfer.device.features import Cell, cell_of
from advisor.errors import ProfileError

if TYPE_CHECKING:
    from advisor.devices.suite.table import PieceTimes, Table

FEWEST = 3  # pieces below which a table is not carried over
_COST = 0.3  # by which power of its time a piece is dear


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One piece to run. `key` is that of the suite's own record of it."""

    number: int
    variant: str
    threads: int
    training: bool

    @property
    def key(self) -> str:
        return key_of(self.number, self.variant, self.threads, self.training)


def choose_pieces(tables: Sequence[Table], count: int) -> list[Asked]:
    """At most `count` pieces of these tables, the first of them with twice the share of each other; the shortest first.

    One after the other is taken the piece with the most time in kinds of steps that were not seen yet (seen once they
    count half, twice a third). Tables whose share would be below `FEWEST` pieces are left out, the last first.

    Raises:
        ProfileError: `count` is below `FEWEST`.
    """
    if count < FEWEST:
        raise ProfileError(f"a device profile needs {FEWEST} pieces or more on the new machine, asked for {count}")
    kept = list(tables)
    while len(kept) > 1 and count // (len(kept) + 1) < FEWEST:
        kept.pop()
    share = count // (len(kept) + 1)
    quota = [count - share * (len(kept) - 1), *[share] * (len(kept) - 1)]
    found = []
    for table, some in zip(kept, quota, strict=True):
        taken = sorted(_greedy(table.pieces, some), key=lambda piece: (piece.whole_ms, piece.number, piece.variant))
        found += [
            Asked(number=p.number, variant=p.variant, threads=table.threads, training=table.training) for p in taken
        ]
    return found


def _greedy(pieces: Sequence[PieceTimes], count: int) -> list[PieceTimes]:
    held = [_cells(piece) for piece in pieces]
    total: Counter[Cell] = Counter()
    for cells in held:
        total.update(cells)
    # A root, so that what takes little in all is not forgotten.
    weight = {cell: math.sqrt(ms) for cell, ms in total.items()}
    seen: Counter[Cell] = Counter()
    left = list(range(len(pieces)))
    taken: list[PieceTimes] = []
    while left and len(taken) < count:

        def worth(index: int) -> float:
            new = sum(weight[cell] / (1 + seen[cell]) for cell in held[index])
            return float(new / pieces[index].whole_ms ** _COST)

        best = max(left, key=lambda index: (worth(index), -index))
        left.remove(best)
        taken.append(pieces[best])
        seen.update(held[best].keys())
    return taken


def _cells(piece: PieceTimes) -> dict[Cell, float]:
    found: dict[Cell, float] = {}
    for step, ms in zip(piece.steps, piece.ms, strict=True):
        if step.family != "view" and ms > 0:
            cell = cell_of(step)
            found[cell] = found.get(cell, 0.0) + float(ms)
    return found
