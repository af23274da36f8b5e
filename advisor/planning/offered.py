"""Pinned densities that the grid lacks, as further options of their layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from advisor.patterns.option import Option
from advisor.planning.asked import Asked, Wanted
from advisor.planning.options import Menu

if TYPE_CHECKING:
    from advisor.network import Layer, Network


def with_options(menu: Menu, more: Mapping[str, Sequence[Option]]) -> Menu:
    """The menu with further masked options, at full width; those that it has already are left out."""
    options, requires = dict(menu.options), dict(menu.requires)
    for layer, found in more.items():
        new = [option for option in found if option not in options[layer]]
        at_full = requires[layer][0]  # that of the dense option, which stands first
        options[layer] = (*options[layer], *new)
        requires[layer] = (*requires[layer], *((at_full,) * len(new)))
    return replace(menu, options=options, requires=requires)


def with_pinned(menu: Menu, network: Network, constraints: Asked, patterns: Sequence[str]) -> Menu:
    """The menu with those pinned options that are legal for their layer and not on the grid.

    Args:
        menu: as `options.menu` made it.
        network: whose layers are pinned.
        constraints: the pins, among other rules.
        patterns: those to choose from, for a pin that is a density alone.
    """
    more: dict[str, list[Option]] = {}
    for layer in network.sparsifiable:
        for rule in constraints.of(layer.name):
            if rule.kind != "pin" or rule.wanted is None or rule.wanted.density is None:
                continue
            if not any(rule.wanted.is_met_by(option) for option in menu.options[layer.name]):
                more[layer.name] = _legal(layer, rule.wanted, patterns)
    return with_options(menu, more) if any(more.values()) else menu


def _legal(layer: Layer, wanted: Wanted, patterns: Sequence[str]) -> list[Option]:
    from advisor.patterns.base import pattern, pattern_names

    names = [wanted.pattern] if wanted.pattern is not None else list(patterns)
    masked = [name for name in names if name in pattern_names() and name != "dense" and "width" not in name]
    density = wanted.density or 1.0
    return [o for name in masked for o in pattern(name).options(layer, (density,)) if wanted.is_met_by(o)]
