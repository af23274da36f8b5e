"""Covering one more channel by a chain of exchanges, where no single exchange can."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from advisor.patterns.draw import Bools
from advisor.patterns.reach import Counts, Usage
from advisor.patterns.rewire import Picker, Use


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Station:
    """The live rows of one group of a layer: a reader with a fixed number of connections."""

    use: Use
    group: int
    units: Bools  # a view: (unit rows of the group, inputs of the group)
    rows: Counts  # the live ones among them
    nodes: Counts  # (inputs of the group,)
    first_row: int

    @property
    def reads(self) -> Bools:
        found: Bools = np.logical_or.reduce(self.units[self.rows], axis=0)
        return found


def relay(usage: Usage, uses: Mapping[str, Sequence[Use]], reached: Bools) -> bool:
    """Lets unread channels be read by chains of exchanges: augmenting paths, as in bipartite matching.

    An unread channel may be open only to readers without a connection to spare. If such a reader alone reads a channel
    that another reader could take over, it can hand that one on, and so forth until a reader that has one to spare.
    Where this finds nothing either, no rearrangement among the rows that are live now can cover another channel.

    Args:
        usage: complete; followed through every exchange.
        uses: layer → its uses. Layers used more than once take no part.
        reached: (nodes,) those that carry a signal.

    Returns:
        Whether anything changed.
    """
    changed = False
    stations = _stations(usage, uses)
    while True:
        behind = _chains(stations, usage.count, reached)
        unread = reached & (usage.count == 0)
        for place in behind:  # the shortest chains first
            found = np.flatnonzero(unread[stations[place].nodes])
            if len(found):
                _hand_on(stations, behind, place, int(stations[place].nodes[found[0]]), usage)
                changed = True
                break
        else:
            return changed


def _stations(usage: Usage, uses: Mapping[str, Sequence[Use]]) -> list[_Station]:
    stations = []
    for name, calls in uses.items():
        wired = usage.wirings[name]
        if not wired.free or len(calls) != 1:
            continue
        index, step = calls[0]
        per_group = len(wired.units) // wired.layer.groups
        for group, nodes in enumerate(step.inputs.reshape(wired.layer.groups, -1)):
            live = usage.counted[index][group * per_group : (group + 1) * per_group]
            if live.any():
                stations.append(
                    _Station(
                        use=calls[0],
                        group=group,
                        units=wired.grouped[group],
                        rows=np.flatnonzero(live),
                        nodes=nodes,
                        first_row=group * per_group,
                    )
                )
    return stations


def _chains(stations: list[_Station], count: Counts, reached: Bools) -> dict[int, tuple[int, int] | None]:
    """Readers from which a chain leads to a spare connection, nearest first → (next reader, channel handed to it)."""
    reader = np.full(len(count), -1)
    behind: dict[int, tuple[int, int] | None] = {}
    for place, station in enumerate(stations):
        read = station.nodes[station.reads]
        reader[read[count[read] == 1]] = place
        if (count[read] >= 2).any():
            behind[place] = None
    queue = list(behind)
    for place in queue:
        nodes = stations[place].nodes
        for node in nodes[reached[nodes] & (reader[nodes] >= 0)].tolist():
            before = int(reader[node])
            if before not in behind:
                behind[before] = (place, node)
                queue.append(before)
    return behind


def _hand_on(
    stations: list[_Station], behind: dict[int, tuple[int, int] | None], place: int, wanted: int, usage: Usage
) -> None:
    while (following := behind[place]) is not None:
        station, (following_place, handed) = stations[place], following
        rows, columns = np.nonzero(station.units[station.rows] & (station.nodes == handed))
        row, given_up = int(station.rows[rows[0]]), int(columns[0])
        taken = int(np.flatnonzero(station.nodes == wanted)[0])
        station.units[row, given_up], station.units[row, taken] = False, True
        offset = station.group * len(station.nodes)
        usage.move([station.use], station.first_row + row, offset + given_up, offset + taken)
        place, wanted = following_place, handed
    station = stations[place]
    picker = Picker(usage, station.use[0], [station.use], station.group)
    picker.take(np.flatnonzero(station.nodes == wanted))
