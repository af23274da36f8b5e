"""Which connection makes room for which channel."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from advisor.coupling.structure import LayerUse
from advisor.patterns.draw import Bools, Floats
from advisor.patterns.reach import Counts, Usage, Wiring

Indices = npt.NDArray[np.int64]
Use = tuple[int, LayerUse]  # with its place among the graph's steps


def feed(wired: Wiring, given: Bools) -> bool:
    """Exchanges inputs without a signal for live ones, the least read first (with scores: the best).

    A row without any live input is emptied where the pattern allows it. Where a group has fewer live inputs than a
    row needs, the row keeps dead ones, so that its number of inputs stays what the pattern promises.

    Args:
        wired: changed in place.
        given: (in_channels,) inputs that carry a signal.

    Returns:
        Whether anything changed.
    """
    changed = False
    units, live = wired.grouped, given.reshape(wired.layer.groups, -1)
    worth = None if wired.scores is None else wired.scores.reshape(units.shape)
    for group in np.flatnonzero(~live.all(axis=1)):
        rows, reads = units[group], units[group].sum(axis=0)
        for row in np.flatnonzero((rows & ~live[group]).any(axis=1)):
            if not live[group].any():
                if wired.droppable:
                    rows[row], changed = False, True
                continue
            dead = np.flatnonzero(rows[row] & ~live[group])
            free = np.flatnonzero(live[group] & ~rows[row])
            rank = reads[free] if worth is None else -worth[group, row, free]
            taken = free[np.argsort(rank, kind="stable")][: len(dead)]
            rows[row, dead[: len(taken)]], rows[row, taken] = False, True
            reads[taken] += 1
            changed |= len(taken) > 0
    return changed


def cover(usage: Usage, index: int, uses: Sequence[Use], reached: Bools) -> bool:
    """Lets live rows of one layer use read channels that nothing reads yet, in place of inputs read elsewhere, too.

    Any connection that can be spared can take any unread channel (no live row reads it), so taking them one by one
    covers as many as possible.

    Args:
        usage: followed through every exchange.
        index: of the layer use among the graph's steps.
        uses: all uses of the layer, that one among them.
        reached: (nodes,) those that carry a signal.

    Returns:
        Whether anything changed.
    """
    step = dict(uses)[index]
    wired = usage.wirings[step.layer]
    inputs = step.inputs.reshape(wired.layer.groups, -1)
    changed = False
    for group in range(wired.layer.groups):
        nodes = inputs[group]
        columns = np.flatnonzero(reached[nodes] & (usage.count[nodes] == 0))
        if len(columns):
            picker = Picker(usage, index, uses, group)
            for wanted in _by_node(columns, nodes):
                if not picker.take(wanted):
                    break
                changed = True
    return changed


def _by_node(columns: Indices, nodes: Indices) -> list[Indices]:
    """The columns behind each unread node (several after a flatten), in the order of their first column."""
    found: dict[int, list[int]] = {}
    for column in columns:
        found.setdefault(int(nodes[column]), []).append(int(column))
    return [np.array(members) for members in found.values()]


class Picker:
    """Exchanges inputs of the live rows of one group in one use of a layer."""

    def __init__(self, usage: Usage, index: int, uses: Sequence[Use], group: int) -> None:
        self.usage, self.uses = usage, uses
        wired = usage.wirings[uses[0][1].layer]
        self.units = wired.grouped[group]
        self.first_row = group * len(self.units)
        self.first_column = group * self.units.shape[1]
        self.rows: Indices = np.flatnonzero(usage.counted[index][self.first_row : self.first_row + len(self.units)])
        window = slice(self.first_column, self.first_column + self.units.shape[1])
        self.nodes = np.stack([step.inputs[window] for _, step in uses])  # (uses, inputs of a group)
        self.scores: Floats | None = None if wired.scores is None else wired.scores.reshape(wired.grouped.shape)[group]
        self.done = 0
        if self.scores is None:
            read = np.flatnonzero(self.units[self.rows].any(axis=0))
            self.heap = [(-int(c), int(column)) for column, c in zip(read, self._reads(read), strict=True)]
            heapq.heapify(self.heap)
        else:
            self.cheapest = np.full(len(self.units), np.inf)
            for row in self.rows.tolist():
                self.cheapest[row] = self._spare(row)[1]

    def _reads(self, columns: Indices) -> Counts:
        """How often the channels behind these columns are read; the rarest of all uses decides."""
        found: Counts = self.usage.count[self.nodes[:, columns]].min(axis=0)
        return found

    def take(self, wanted: Indices) -> bool:
        """Reads one of the columns in `wanted`, which are one channel. False when no connection can be spared."""
        found = self._most_read(wanted) if self.scores is None else self._least_lost(wanted, self.scores)
        if found is None:
            return False
        row, given_up, taken = found
        self.units[row, given_up], self.units[row, taken] = False, True
        self.usage.move(self.uses, self.first_row + row, self.first_column + given_up, self.first_column + taken)
        self.done += 1
        if self.scores is None:
            self._push(given_up)
        else:
            for touched in (row, *self._last_readers(given_up)):
                self.cheapest[touched] = self._spare(touched)[1]
        return True

    def _push(self, column: int) -> None:
        heapq.heappush(self.heap, (-int(self._reads(np.array([column]))[0]), column))

    def _most_read(self, wanted: Indices) -> tuple[int, int, int] | None:
        while self.heap:
            reads, column = heapq.heappop(self.heap)
            now = int(self._reads(np.array([column]))[0])
            readers = self.rows[self.units[self.rows, column]]
            if now < 2 or not len(readers):
                continue
            if now != -reads:
                heapq.heappush(self.heap, (-now, column))
                continue
            # Walks through the readers, so that the changes do not gather in the first rows.
            return int(readers[self.done % len(readers)]), column, int(wanted[self.done % len(wanted)])
        return None

    def _least_lost(self, wanted: Indices, scores: Floats) -> tuple[int, int, int] | None:
        if not len(self.rows):
            return None
        loss = self.cheapest[self.rows, None] - scores[self.rows[:, None], wanted]
        place, which = divmod(int(loss.argmin()), len(wanted))
        row = int(self.rows[place])
        if not np.isfinite(self.cheapest[row]):
            return None
        return row, self._spare(row)[0], int(wanted[which])

    def _spare(self, row: int) -> tuple[int, float]:
        """The cheapest input of a row that is read elsewhere, too, and its score; infinite where there is none."""
        assert self.scores is not None
        kept = np.flatnonzero(self.units[row])
        kept = kept[self._reads(kept) >= 2]
        if not len(kept):
            return -1, np.inf
        column = int(kept[self.scores[row, kept].argmin()])
        return column, float(self.scores[row, column])

    def _last_readers(self, column: int) -> list[int]:
        """Rows for which the channel behind `column` was to spare and is no longer."""
        if self._reads(np.array([column]))[0] >= 2:
            return []
        same = np.flatnonzero((self.nodes == self.nodes[:, [column]]).any(axis=0))
        return [int(row) for row in self.rows[self.units[self.rows[:, None], same].any(axis=1)]]
