"""Pinned densities that the grid lacks, as further options of their layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from advisor.patterns.option import Option
from advisor.planning.constraints.asked import Asked, Wanted
from advisor.planning.menu.options import Menu
from advisor.planning.table import Requirement

if TYPE_CHECKING:
    from advisor.network import Layer, Network


def with_options(
    menu: Menu, more: Mapping[str, Sequence[Option]], widths: Mapping[str, Requirement] | None = None
) -> Menu:
    """The menu with further options behind those of each layer; those that it has already are left out.

    Args:
        menu: to extend.
        more: layer → options that do not narrow it.
        widths: layer → the levels of its groups that they need; full width where None.
    """
    options, requires = dict(menu.options), dict(menu.requires)
    for layer, found in more.items():
        needs = widths[layer] if widths is not None else requires[layer][0]  # that of the dense option, which is first
        there = [o for o, need in zip(options[layer], requires[layer], strict=True) if need == needs]
        new = [option for option in found if option not in there]
        options[layer] = (*options[layer], *new)
        requires[layer] = (*requires[layer], *((needs,) * len(new)))
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
                more[layer.name] = pinned_options(layer, rule.wanted, patterns)
    return with_options(menu, more) if any(more.values()) else menu


def pinned_options(layer: Layer, wanted: Wanted, patterns: Sequence[str]) -> list[Option]:
    """The options of a layer that are what a pin wants, at its own density. `patterns`: for a density alone."""
    from advisor.patterns.base import pattern, pattern_names

    names = [wanted.pattern] if wanted.pattern is not None else list(patterns)
    masked = [name for name in names if name in pattern_names() and name != "dense" and "width" not in name]
    density = wanted.density or 1.0
    return [o for name in masked for o in pattern(name).options(layer, (density,)) if wanted.is_met_by(o)]
