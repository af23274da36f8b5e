"""From tied channels to width groups: what must share one factor, and how each group's channels may be thinned out."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from advisor.coupling.graph import channel_graph_of
from advisor.coupling.structure import Coupling, Cut, LayerUse, Nodes, Segment, WidthGroup
from advisor.coupling.ties import Ties
from advisor.coupling.walker import Walker
from advisor.network import Network


def width_groups(network: Network, walker: Walker) -> Coupling:
    """Groups the channels that a walk has named.

    Channels of one class live and die together. Classes that appear together wherever they appear form a segment: any
    of them may stay, so a segment keeps a share. Segments that one layer reads, or that one layer makes, share a group.
    """
    cuts = _agreed(walker)
    _tie_columns(walker)
    class_of = np.unique(walker.ties.find(np.arange(walker.ties.count)), return_inverse=True)[1].astype(np.int64)
    classes = int(class_of.max()) + 1 if len(class_of) else 0
    reasons: dict[int, str] = {}
    for nodes, reason in walker.frozen:
        for c in np.unique(class_of[nodes]).tolist():
            reasons.setdefault(c, reason)
    uses = [step for step in walker.steps if isinstance(step, LayerUse)]
    equal = tuple(
        found
        for parts, same in walker.pieces
        if same and len(found := tuple(np.unique(class_of[part]) for part in parts)) > 1 and max(map(len, found)) > 1
    )
    segment_of = _segments(classes, _pieces(walker, uses, cuts, class_of), reasons)
    members = _members(segment_of)
    locked = np.array([int(m[0]) in reasons for m in members], dtype=bool)
    shared = Ties()
    shared.new(len(members))
    for nodes in _sharing(walker, uses):
        touched = np.unique(segment_of[class_of[nodes]])
        free = touched[~locked[touched]]
        touched = free if len(free) else touched
        shared.union(touched[:1], touched)
    for parts in equal:
        touched = np.unique(segment_of[np.concatenate(parts)])
        touched = touched[~locked[touched]]
        if len(touched):
            shared.union(touched[:1], touched)
    return _coupling(network, walker, cuts, class_of, segment_of, members, shared, reasons, uses, equal)


def _agreed(walker: Walker) -> tuple[Cut, ...]:
    """One cut per axis of a parameter; what several uses of a parameter see there is the same channel."""
    found: dict[tuple[str, int], Cut] = {}
    for cut in walker.cuts:
        known = found.setdefault((cut.name, cut.axis), cut)
        if known is cut:
            continue
        if known.groups != cut.groups or len(known.nodes) != len(cut.nodes):
            walker.freeze(np.concatenate([known.nodes, cut.nodes]), f"{cut.name} is used in two ways")
        else:
            walker.ties.union(known.nodes, cut.nodes)
    first: dict[str, Cut] = {}
    for cut in found.values():
        if cut.name in walker.fixed:
            walker.freeze(cut.nodes, f"{cut.name} is read whole by an operator")
        elif cut.name not in walker.owned and first.setdefault(cut.name, cut) is not cut:
            # Only a layer's weight may shrink on two axes at once: everything else costs a sum over width groups.
            walker.freeze(cut.nodes, f"{cut.name} follows channels along two axes")
    return tuple(found.values())


def _tie_columns(walker: Walker) -> None:
    """Where an axis was reshaped into rows, the same channels stay in each row, since a shuffle turns the table.

    Rows that are one channel each (a vector seen as a map) are the channels themselves and may go as a whole.
    """
    for table in walker.tables:
        if any(len(np.unique(walker.ties.find(row))) > 1 for row in table):
            walker.ties.union(table, table[:1])
            walker.pieces.append((list(table), True))


def _pieces(walker: Walker, uses: list[LayerUse], cuts: tuple[Cut, ...], class_of: Nodes) -> Iterable[Nodes]:
    for use in uses:
        yield class_of[use.outputs]
        yield class_of[use.inputs]
    for cut in cuts:
        yield class_of[cut.nodes]
    for parts, same in walker.pieces:
        found = [class_of[part] for part in parts]
        # Pieces of one channel each are channels, not pieces: which of them stay is what width decides.
        if not same or max(len(np.unique(part)) for part in found) > 1:
            yield from found


def _segments(classes: int, pieces: Iterable[Nodes], reasons: dict[int, str]) -> Nodes:
    """(classes,) the segment of each class: classes that every piece holds equally often are in one segment."""
    segment = np.zeros(classes, dtype=np.int64)
    following = 1
    for piece in (*pieces, np.array(sorted(reasons), dtype=np.int64)):
        if len(piece) == 0:
            continue
        held, often = np.unique(piece, return_counts=True)
        key = segment[held] * (int(often.max()) + 1) + often
        _, place = np.unique(key, return_inverse=True)
        segment[held] = following + place
        following += int(place.max()) + 1
    return np.unique(segment, return_inverse=True)[1].astype(np.int64)


def _members(segment_of: Nodes) -> list[Nodes]:
    order = np.argsort(segment_of, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(segment_of[order])) + 1) if len(order) else []


def _sharing(walker: Walker, uses: list[LayerUse]) -> Iterable[Nodes]:
    for use in uses:
        yield use.inputs
        yield use.outputs
    yield from walker.together


def _coupling(
    network: Network,
    walker: Walker,
    cuts: tuple[Cut, ...],
    class_of: Nodes,
    segment_of: Nodes,
    members: list[Nodes],
    shared: Ties,
    reasons: dict[int, str],
    uses: list[LayerUse],
    equal: tuple[tuple[Nodes, ...], ...],
) -> Coupling:
    root = shared.find(np.arange(len(members))) if members else np.empty(0, dtype=np.int64)
    makes: dict[int, dict[str, None]] = {}
    reads: dict[int, dict[str, None]] = {}
    roots: dict[str, tuple[int | None, int | None]] = {}
    only_input = set(class_of[network_inputs(walker)].tolist())

    def group_root(nodes: Nodes) -> int | None:
        touched = np.unique(class_of[nodes])
        if set(touched.tolist()) <= only_input:
            return None
        free = [c for c in touched.tolist() if c not in reasons]
        return int(root[segment_of[free[0] if free else touched[0]]])

    for use in uses:
        if use.layer not in roots:
            roots[use.layer] = (group_root(use.inputs), group_root(use.outputs))
        before, after = roots[use.layer]
        if before is not None:
            reads.setdefault(before, {})[use.layer] = None
        if after is not None:
            makes.setdefault(after, {})[use.layer] = None
    behind: dict[int, str] = {}
    for cut in cuts:
        if (found := group_root(cut.nodes)) is not None:
            behind.setdefault(found, cut.name)
    ordered = list(dict.fromkeys([r for pair in roots.values() for r in pair if r is not None] + list(behind)))
    position = {r: i for i, r in enumerate(ordered)}
    groups = []
    for r in ordered:
        segments = tuple(
            Segment(channels=tuple(members[i].tolist()), frozen=reasons.get(int(members[i][0]), ""))
            for i in np.flatnonzero(root == r).tolist()
        )
        groups.append(
            WidthGroup(
                name=next(iter(makes.get(r, {})), behind.get(r, "input")),
                layers_in=tuple(reads.get(r, {})),
                layers_out=tuple(makes.get(r, {})),
                channels=sum(len(segment.channels) for segment in segments),
                frozen=_why_frozen(segments),
                segments=segments,
            )
        )
    return Coupling(
        graph=channel_graph_of(network, walker),
        groups=_distinct(groups),
        class_of=class_of,
        group_of=np.array([position.get(int(root[s]), -1) for s in segment_of], dtype=np.int64),
        cuts=cuts,
        sizes=tuple(walker.sizes),
        labels=walker.labels,
        sides={
            name: tuple(None if r is None else position[r] for r in pair)  # type: ignore[misc]
            for name, pair in roots.items()
        },
        equal=equal,
    )


def network_inputs(walker: Walker) -> Nodes:
    """The nodes of the network's inputs."""
    found = [walker.inputs[index].ravel() for index in sorted(walker.inputs)]
    return np.concatenate([*found, np.empty(0, dtype=np.int64)])


def _why_frozen(segments: tuple[Segment, ...]) -> str:
    free = [segment for segment in segments if not segment.frozen]
    if not free:
        return segments[0].frozen
    if all(len(segment.channels) == 1 for segment in free):
        whole = len(free) == 1
        return "it is a single channel" if whole else "splits and shuffles take it apart into single channels"
    return ""


def _distinct(groups: list[WidthGroup]) -> tuple[WidthGroup, ...]:
    from dataclasses import replace

    seen: dict[str, int] = {}
    result = []
    for group in groups:
        seen[group.name] = number = seen.get(group.name, 0) + 1
        result.append(group if number == 1 else replace(group, name=f"{group.name}#{number}"))
    return tuple(result)
