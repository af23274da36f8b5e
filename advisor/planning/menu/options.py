"""What each layer may become: candidates of the patterns, and pairs of width levels with what ties them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advisor.devices.measuring.work import WIDTH_LEVELS
from advisor.errors import PatternError, PlanError, unknown
from advisor.patterns.hierarchical import HIERARCHICAL
from advisor.patterns.narrowed import implied, inner_name
from advisor.patterns.option import DENSE, Option
from advisor.planning.menu.attention import NO_ATTENTION, AttentionMenu, held_layers
from advisor.planning.menu.combine import combined_options, joined, needed
from advisor.planning.table import Requirement

if TYPE_CHECKING:
    from advisor.network import Network
    from advisor.planning.menu.width import WidthLevels

DEFAULT_PATTERNS = ("channel", "group", "width")


@dataclass(frozen=True, slots=True, kw_only=True)
class Menu:
    """Options of every sparsifiable layer, dense first, with the (group, level) pairs that each needs.

    `width` is None where no layer may be narrowed; then nothing is tied. `attention` holds what attention layers may
    become, which have no weight of their own.
    """

    options: Mapping[str, tuple[Option, ...]]
    requires: Mapping[str, tuple[Requirement, ...]]
    width: WidthLevels | None = None
    attention: AttentionMenu = NO_ATTENTION


def menu(
    network: Network,
    patterns: Sequence[str],
    *,
    rounding: str = "ceil",
    include_ends: bool = False,
    levels: Sequence[float] = WIDTH_LEVELS,
) -> Menu:
    """Everything that a plan may choose from.

    Without `include_ends` the first image convolution and the classifier stay dense, so the channels between them and
    their neighbours keep their number. Width alone is the depth multiplier, which scales every layer (Changpinyo et
    al. 2017, 3.1): there the inner sides of the ends narrow with their neighbours. So they do where patterns are
    combined with width ("width+channel"), whose options hold those of width and of the pattern alone.

    Of "hierarchical" this only knows that the projections around such attention keep their channels;
    `menu.attention.attention_menu` has its options.

    Raises:
        PatternError: an unknown pattern or rounding.
        PlanError: the network has no layer that could be thinned out.
    """
    from advisor.patterns.base import combined_names
    from advisor.patterns.candidates import candidates, end_layers

    names = checked_patterns(patterns)
    if not network.sparsifiable:
        raise PlanError(f"network {network.name!r} has no convolution or linear layer, so there is nothing to plan")
    inside = tuple(inner_name(name) for name in names if name in combined_names())
    sparse = tuple(name for name in names if name not in ("width", "dense", HIERARCHICAL, *combined_names()))
    held = held_layers(network, names) if "width" in names else frozenset[str]()
    found = candidates(network, sparse, include_ends=include_ends)
    ends = frozenset() if include_ends else frozenset(end_layers(network))
    masked = {layer.name: tuple(found.get(layer.name, (DENSE,))) for layer in network.sparsifiable}
    made = with_width(
        network,
        masked,
        rounding=rounding,
        levels=levels if "width" in names else (),
        dense=held | (ends if (sparse or HIERARCHICAL in names) and not inside else frozenset()),
    )
    if made.width is None or not inside:
        return made
    options, requires = joined(
        made.options, made.requires, combined_options(network, made.width, inside, leave=ends | held)
    )
    return Menu(options=options, requires=requires, width=made.width)


def with_width(
    network: Network,
    masked: Mapping[str, tuple[Option, ...]],
    *,
    rounding: str,
    levels: Sequence[float],
    dense: frozenset[str] = frozenset(),
) -> Menu:
    """`masked` options and, where `levels` are given, every pair of levels of the width groups beside each layer.

    Layers in `dense` get no pairs: they hold the groups beside them at full width.
    """
    if rounding not in ("ceil", "multiple8"):
        raise PatternError(unknown("rounding", rounding, ("ceil", "multiple8")))
    if not levels:
        free: dict[str, tuple[Requirement, ...]] = {name: ((),) * len(choices) for name, choices in masked.items()}
        return Menu(options=masked, requires=free)
    from advisor.planning.menu.width import width_levels

    width = width_levels(network, levels, rounding)
    sides = {layer.name: layer for layer in width.layers}
    options = dict(masked)
    requires: dict[str, tuple[Requirement, ...]] = {name: ((),) * len(choices) for name, choices in masked.items()}
    for name, layer in sides.items():
        groups = (layer.inputs, layer.outputs)
        pairs = {(a, b): option for (a, b), option in layer.options.items() if (a, b) != (0, 0) and name not in dense}
        at_full: Requirement = needed(groups, (0, 0))
        options[name] = (*masked[name], *pairs.values())
        requires[name] = (*((at_full,) * len(masked[name])), *(needed(groups, pair) for pair in pairs))
    return Menu(options=options, requires=requires, width=width if width.groups else None)


def checked_patterns(patterns: Sequence[str]) -> tuple[str, ...]:
    """The patterns' names without repeats, with those that combined ones stand on; or which one is unknown."""
    from advisor.patterns.base import combined_names, pattern_names

    if isinstance(patterns, str):
        raise PatternError(f"patterns={patterns!r}; expected a list of names, ['channel', 'group']")
    known = (*pattern_names(), *combined_names(), HIERARCHICAL)
    for name in patterns:
        if name not in known:
            raise PatternError(unknown("pattern", str(name), known))
    if not [name for name in patterns if name != "dense"]:
        raise PatternError(
            f"no pattern to choose from; expected one or more of: {', '.join((*pattern_names(), HIERARCHICAL))}"
        )
    return implied(tuple(dict.fromkeys(patterns)))
