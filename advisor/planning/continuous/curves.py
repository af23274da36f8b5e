"""What one layer costs and loses at any density: curves through the options that differ in density alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from advisor.patterns.option import Option
from advisor.planning.table import Choice, CostTable, Requirement

Floats = NDArray[np.float64]
# What grows with the density alone. Dense layers run by another kernel than thinned ones and store no positions, so
# times, memory and energy jump where the last connection goes.
SMOOTH = ("params", "macs")


class Varying(Protocol):
    """What there is to know of densities beside a table."""

    def may_vary(self, layer: int, option: Option) -> bool:
        """Whether the densities of an option's pattern may lie anywhere."""
        ...

    def share(self, layer: int, option: Option) -> float:
        """What an option really keeps of its layer, in (0, 1]: its density after the pattern's rounding."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One layer's options of one pattern, and the dense one, as functions of the density.

    Monotone cubic interpolation (Fritsch and Carlson 1980): exact at the options, never beyond its two neighbours
    between them. Costs are interpolated over the density, in which parameters and multiply-adds are linear; the loss
    over its logarithm.

    Attributes:
        layer: its index in the table.
        option: one of the options, whose pattern and parameters all share.
        densities: (P,) ascending, that the options really keep; least and most bound the curve.
        loss: ln density → loss.
        costs: key → density → cost, of those that were asked for.
    """

    layer: int
    option: Option
    densities: Floats
    loss: PchipInterpolator
    costs: Mapping[str, PchipInterpolator]

    def loss_at(self, density: float) -> float:
        return float(self.loss(np.log(density)))

    def costs_at(self, density: float) -> dict[str, float]:
        return {key: float(curve(density)) for key, curve in self.costs.items()}


def curves_of(
    table: CostTable,
    choice: Choice,
    limits: Collection[str],
    *,
    kept: Sequence[NDArray[np.int64]],
    varying: Varying,
) -> tuple[Curve, ...]:
    """The curves along which a choice's layers may move; layers without one stay as they are.

    A layer keeps its pattern, the pattern's parameters and its widths. Where all limits are `SMOOTH`, curves reach from
    the pattern's options to the dense one, and a dense layer may take up the pattern that the choice uses most.

    Args:
        table: costs and losses.
        choice: (L,) where to start.
        limits: the costs that are limited.
        kept: per layer the options that the constraints leave.
        varying: which patterns may lie anywhere, and what their options keep.
    """
    smooth = all(key in SMOOTH for key in limits)
    columns = {"weight_memory" if key == "peak_memory" else key for key in limits}
    used = Counter(options[k].pattern for options, k in zip(table.options, choice, strict=True))
    found = []
    for layer, chosen in enumerate(choice):
        members = _family(table, layer, int(chosen), kept[layer].tolist(), used, varying)
        if not smooth:
            members = [k for k in members if table.options[layer][k].pattern != "dense"]
        members = _ascending(table, layer, members, varying)
        if len(members) > 1 and chosen in members:
            found.append(_curve(table, layer, members, varying, columns))
    return tuple(found)


def curve_through(table: CostTable, layer: int, option: Option, needs: Requirement, varying: Varying) -> Curve:
    """The curve through all of a layer's options of this pattern and parameters, and the dense one, at these widths."""
    options = table.options[layer]
    same = (option.pattern, dict(option.parameters))
    members = [
        k
        for k, found in enumerate(options)
        if table.requires[layer][k] == needs
        and (found.pattern == "dense" or (found.pattern, dict(found.parameters)) == same)
    ]
    return _curve(table, layer, _ascending(table, layer, members, varying), varying, table.costs)


def _family(
    table: CostTable, layer: int, chosen: int, kept: Sequence[int], used: Mapping[str, int], varying: Varying
) -> list[int]:
    """Options of one pattern, and the dense one of the same widths where it is left; the chosen one is the last."""
    options, needs = table.options[layer], table.requires[layer]
    beside = [k for k in kept if needs[k] == needs[chosen]]
    kinds: dict[tuple[object, ...], list[int]] = {}
    for k in beside:
        if options[k].pattern != "dense" and varying.may_vary(layer, options[k]):
            kinds.setdefault((options[k].pattern, *sorted(options[k].parameters.items())), []).append(k)
    if options[chosen].pattern == "dense":
        members = max(kinds.values(), key=lambda ks: (used[options[ks[0]].pattern], len(ks)), default=[])
    else:
        members = next((ks for ks in kinds.values() if chosen in ks), [])
    if not members:
        return []
    dense = [k for k in beside if options[k].pattern == "dense"][:1]
    return [*(k for k in (*members, *dense) if k != chosen), chosen]


def _ascending(table: CostTable, layer: int, members: Sequence[int], varying: Varying) -> list[int]:
    """By the share that is kept; of those that keep the same, the last."""
    by_share = {round(varying.share(layer, table.options[layer][k]), 12): k for k in members}
    return [by_share[share] for share in sorted(by_share)]


def _curve(table: CostTable, layer: int, members: Sequence[int], varying: Varying, columns: Collection[str]) -> Curve:
    options, places = table.options[layer], list(members)
    densities = np.array([varying.share(layer, options[k]) for k in members])
    return Curve(
        layer=layer,
        option=next((options[k] for k in members if options[k].pattern != "dense"), options[members[0]]),
        densities=densities,
        loss=PchipInterpolator(np.log(densities), table.loss[layer][places]),
        costs={key: PchipInterpolator(densities, table.costs[key][layer][places]) for key in columns},
    )
