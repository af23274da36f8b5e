"""Options that narrow a layer and thin it out at once, beside those that do one of the two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from advisor.patterns.option import DENSE, Option
from advisor.planning.table import Requirement

if TYPE_CHECKING:
    from advisor.network import Layer, Network
    from advisor.planning.menu.width import WidthLayer, WidthLevels

# A layer has as many combined options as pairs of levels times densities, so both grids are coarser than on their own.
COMBINED_LEVELS = (1.0, 0.75, 0.5, 0.25, 0.125)
COMBINED_DENSITIES = (0.5, 0.25, 0.125, 0.0625)

Found = tuple[tuple[Option, ...], tuple[Requirement, ...]]


def combined_options(
    network: Network,
    width: WidthLevels,
    patterns: Sequence[str],
    *,
    leave: frozenset[str] = frozenset(),
    levels: Sequence[float] = COMBINED_LEVELS,
    densities: Sequence[float] = COMBINED_DENSITIES,
) -> dict[str, Found]:
    """Layer → its combined options and what each needs of the width groups; layers without any are absent.

    At every pair of levels the densities are those that `patterns` offer for the layer of so many channels: a block
    divides what is left, and densities that keep the same weights are one option. Pairs at full width are left out,
    since those options are the pattern's own.

    Args:
        network: the analysis.
        width: its groups and their levels.
        patterns: masked patterns, "channel" and so on.
        leave: layers whose connections stay, whatever their channels.
        levels: those among the groups' levels that are combined.
        densities: of the narrowed layer.
    """
    found = {}
    for sides in width.layers:
        if sides.name in leave:
            continue
        options, needs = _of_layer(network.layer(sides.name), sides, width, patterns, levels, densities)
        if options:
            found[sides.name] = (options, needs)
    return found


def _of_layer(
    layer: Layer,
    sides: WidthLayer,
    width: WidthLevels,
    patterns: Sequence[str],
    levels: Sequence[float],
    densities: Sequence[float],
) -> Found:
    from advisor.patterns.base import pattern
    from advisor.patterns.narrowed import combined, thinned

    options: list[Option] = []
    needs: list[Requirement] = []
    groups = (sides.inputs, sides.outputs)
    for pair, narrow in sides.options.items():
        at = [width.groups[g].levels[v] for g, v in zip(groups, pair, strict=True) if g is not None]
        if pair == (0, 0) or any(level not in levels for level in at):
            continue
        smaller = thinned(layer, narrow)[0]
        for name in patterns:
            # A level may leave this layer as it is; then what is combined is the pattern alone.
            made = pattern(name).options(smaller, densities)
            options += [inner if narrow == DENSE else combined(narrow, inner) for inner in made]
            needs += [needed(groups, pair)] * len(made)
    return tuple(options), tuple(needs)


def needed(groups: tuple[int | None, int | None], pair: tuple[int, int]) -> Requirement:
    """The (group, level) pairs of a layer's two sides; a side that never narrows needs nothing."""
    return tuple(sorted({(group, level) for group, level in zip(groups, pair, strict=True) if group is not None}))


def joined(
    options: Mapping[str, tuple[Option, ...]],
    requires: Mapping[str, tuple[Requirement, ...]],
    more: Mapping[str, Found],
) -> tuple[dict[str, tuple[Option, ...]], dict[str, tuple[Requirement, ...]]]:
    """Options and requirements of every layer with `more` after them."""
    return (
        {name: (*held, *more.get(name, ((), ()))[0]) for name, held in options.items()},
        {name: (*held, *more.get(name, ((), ()))[1]) for name, held in requires.items()},
    )
