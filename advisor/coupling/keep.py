"""Which channels stay at given levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from advisor.coupling.structure import Coupling, LayerUse, Nodes, Segment, kept_channels_of
from advisor.errors import PlanError

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]


def distinct_levels(coupling: Coupling, group: int, levels: Sequence[float], rounding: str) -> tuple[float, ...]:
    """The levels that a group can really take, falling from 1.0.

    Levels that keep the same channels are listed once (the largest of them), levels at which pieces that must stay
    equally large would not (halves of a chunk, groups of a convolution) are left out, and a frozen group only has 1.0.

    Raises:
        PatternError: a level outside (0, 1], or an unknown rounding.
    """
    chosen = coupling.groups[group]
    tied = [parts for parts in coupling.equal if any((coupling.group_of[part] == group).any() for part in parts)]
    found: dict[tuple[int, ...], float] = {}
    for level in sorted({1.0, *levels}, reverse=True):
        kept_channels_of(level, 1, rounding)  # complains about a level or rounding that is none
        counts = tuple(segment.kept(level, rounding) for segment in chosen.segments)
        if level == 1 or (not chosen.frozen and _stay_equal(coupling, chosen.segments, counts, tied)):
            found.setdefault(counts, level)
    return tuple(found.values())


def _stay_equal(
    coupling: Coupling, segments: Sequence[Segment], counts: Sequence[int], tied: Sequence[tuple[Nodes, ...]]
) -> bool:
    share = np.ones(len(coupling.group_of))
    for segment, count in zip(segments, counts, strict=True):
        share[list(segment.channels)] = count / len(segment.channels)
    return all(len({round(float(share[part].sum())) for part in parts}) == 1 for parts in tied)


def kept_share(coupling: Coupling, levels: Mapping[str, float], rounding: str) -> Floats:
    """(classes,) the share of each class's segment that stays: sums over classes are numbers of kept channels."""
    share = np.ones(len(coupling.group_of))
    for name, level in levels.items():
        group = coupling.groups[coupling.named(name)]
        for segment in group.segments:
            kept = segment.kept(1.0 if group.frozen else level, rounding)
            share[list(segment.channels)] = kept / len(segment.channels)
    return share


def kept_classes(
    coupling: Coupling,
    levels: Mapping[str, float],
    rounding: str = "ceil",
    *,
    scores: Floats | None = None,
    keep: Mapping[str, Nodes] | None = None,
) -> Flags:
    """(classes,) whether each channel class stays.

    Args:
        coupling: of the network.
        levels: group name → level; groups left out stay whole.
        rounding: "ceil" or "multiple8".
        scores: (classes,) the largest stay, ties going to the lower class; without them the first of each segment.
        keep: layer → output channels that stay, for segments that these layers make.

    Raises:
        PlanError: `keep` contradicts itself or the levels; or a level below 1 for a frozen group.
        PatternError: an unknown group or rounding, or a level outside (0, 1].
    """
    flags = np.ones(len(coupling.group_of), dtype=bool)
    wanted = _wanted(coupling, keep or {})
    for name, level in levels.items():
        group = coupling.groups[coupling.named(name)]
        kept_channels_of(level, 1, rounding)
        if group.frozen and level < 1:
            raise PlanError(f"width group {name!r} cannot be narrowed to {level:g}: {group.frozen}; leave it at 1")
        for segment in group.segments:
            channels = np.array(segment.channels, dtype=np.int64)
            count = segment.kept(level, rounding)
            flags[channels] = False
            known = wanted[channels]
            if (known >= 0).all():
                chosen = channels[known > 0]
                if len(chosen) != count:
                    raise PlanError(
                        f"width group {name!r} keeps {len(chosen)} of {len(channels)} channels in one part, expected "
                        f"{count} at level {level:g}; choose as many as the level says"
                    )
            elif scores is not None:
                chosen = channels[np.argsort(-scores[channels], kind="stable")[:count]]
            else:
                chosen = channels[:count]
            flags[chosen] = True
    return flags


def listed_classes(coupling: Coupling, keep: Mapping[str, Nodes]) -> Flags:
    """(classes,) whether each channel class stays, where lists say so and no levels: all that no list leaves out do.

    Args:
        coupling: of the network.
        keep: layer → output channels that stay.

    Raises:
        PlanError: `keep` contradicts itself, or leaves out a channel that cannot go.
    """
    flags: Flags = _wanted(coupling, keep) != 0
    for group in coupling.groups:
        for segment in group.segments:
            if segment.frozen and not flags[list(segment.channels)].all():
                raise PlanError(f"width group {group.name!r} cannot lose channels: {segment.frozen}; keep all of them")
    return flags


def _wanted(coupling: Coupling, keep: Mapping[str, Nodes]) -> Nodes:
    """(classes,) 1 stays, 0 goes, −1 nobody said."""
    wanted = np.full(len(coupling.group_of), -1, dtype=np.int64)
    for use in coupling.graph.steps:
        if not isinstance(use, LayerUse) or use.layer not in keep:
            continue
        asked = np.zeros(len(use.outputs), dtype=np.int64)
        indices = np.asarray(keep[use.layer], dtype=np.int64)
        if len(indices) and not (indices.min() >= 0 and indices.max() < len(asked)):
            raise PlanError(
                f"layer {use.layer}: kept channel {indices.max()} of {len(asked)}; choose indices below {len(asked)}"
            )
        asked[indices] = 1
        classes = coupling.class_of[use.outputs]
        seen = wanted[classes]
        if ((seen >= 0) & (seen != asked)).any() or len(np.unique(classes * 2 + asked)) != len(np.unique(classes)):
            raise PlanError(
                f"layer {use.layer}: its kept channels contradict a coupled layer's; coupled layers keep the same ones"
            )
        wanted[classes] = asked
    return wanted


def class_scores(coupling: Coupling, weights: Mapping[str, NDArray[np.floating]], axes: Mapping[str, bool]) -> Floats:
    """(classes,) squared norms of the filters that make each channel, summed over the layers that make it.

    Args:
        coupling: of the network.
        weights: layer → its weight in the stored shape, (out, in, ...) or, where `axes[layer]`, (in, out/groups, ...).
        axes: layer → is its weight stored transposed?
    """
    squares = {name: np.square(np.asarray(weight, dtype=np.float64)) for name, weight in weights.items()}
    return class_worth(coupling, squares, axes)


def class_worth(coupling: Coupling, worth: Mapping[str, NDArray[np.floating]], axes: Mapping[str, bool]) -> Floats:
    """(classes,) worth of the filters that make each channel, summed over the layers that make it.

    Args:
        coupling: of the network.
        worth: layer → what each weight is worth, in the stored shape, as in `class_scores`.
        axes: layer → is its weight stored transposed?
    """
    scores = np.zeros(len(coupling.group_of))
    done: set[str] = set()
    for use in coupling.graph.steps:
        if not isinstance(use, LayerUse) or use.layer not in worth or use.layer in done:
            continue
        done.add(use.layer)
        values = np.asarray(worth[use.layer], dtype=np.float64)
        if axes.get(use.layer, False):
            # (in, out/g, ...) → per group of inputs the sum for each of its outputs
            groups = len(use.outputs) // values.shape[1]
            per_output = values.reshape(groups, -1, values.shape[1], *values.shape[2:])
            sums = per_output.sum(axis=(1, *range(3, per_output.ndim))).ravel()
        else:
            sums = values.reshape(len(values), -1).sum(axis=1)
        np.add.at(scores, coupling.class_of[use.outputs], sums)
    return scores
