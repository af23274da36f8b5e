"""After the options are chosen: which connections, and what the repair of dead channels changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from advisor.patterns.option import Option
from advisor.planning.build import item_bytes
from advisor.planning.sensitivity import weight_of

if TYPE_CHECKING:
    from advisor.network import Layer, Network

Bools = NDArray[np.bool_]
Indices = NDArray[np.int64]
Rewired = tuple[tuple[int, int, int], ...]
_REPAIRED = ("channel", "group")


@dataclass(frozen=True, slots=True, kw_only=True)
class Connections:
    """What `PlanLayer` and `Plan.chosen` hold beside the options; layers that need nothing are absent.

    `saved` is cost → what the dropped connections take off the table's total.
    """

    seeds: Mapping[str, int]
    chosen: Mapping[str, Bools] | None = None  # before the repair; None where a seed draws them
    kept: Mapping[str, tuple[Indices, Indices]] = field(default_factory=dict)  # width: (inputs, outputs) that stay
    rewired: Mapping[str, Rewired] = field(default_factory=dict)
    dropped: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    saved: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def connect(
    network: Network,
    options: Mapping[str, Option],
    *,
    seed: int,
    selection: str,
    levels: Mapping[str, float],
    rounding: str,
) -> Connections:
    """Draws or chooses the connections of every masked layer and repairs dead channels.

    Args:
        network: analysed; selection "magnitude" needs its real weights.
        options: layer → option.
        seed: of the plan; each layer draws from `layer_seed(seed, name)`.
        selection: "random", or "magnitude": the connections of largest squared weight.
        levels: width group → factor, of those that are narrowed.
        rounding: how width rounds.
    """
    from advisor.patterns.base import layer_seed, pattern

    layers = {layer.name: layer for layer in network.sparsifiable}
    seeds = {name: layer_seed(seed, name) for name in layers}
    masked = [name for name in layers if options[name].pattern not in ("dense", "width")]
    scores = (
        {name: _scores(network, layers[name], options[name]) for name in masked} if selection == "magnitude" else {}
    )
    made: dict[str, tuple[Option, Bools]] = {
        name: (
            options[name],
            pattern(options[name].pattern).connections(
                layers[name], options[name], seed=seeds[name], scores=scores.get(name)
            ),
        )
        for name in masked
    }
    chosen = {name: connections for name, (_, connections) in made.items()} if scores else None
    kept = _kept_channels(network, options, levels, rounding, by_weights=selection == "magnitude")
    if not any(options[name].pattern in _REPAIRED for name in masked):
        return Connections(seeds=seeds, chosen=chosen, kept=kept)
    from advisor.patterns.connectivity import repair

    _, fixed = repair(network.coupling.graph, layers, made, scores or None)
    dropped = {name: tuple(rows) for name, rows in fixed.dropped.items() if rows}
    saved: dict[str, int] = {"params": 0, "macs": 0, "weight_memory": 0}
    item = item_bytes(network)
    for name, rows in dropped.items():
        for key, amount in _share_of(layers[name], options[name], rows, len(made[name][1]), item[name]).items():
            saved[key] += amount
    notes = list(fixed.notes)
    if dropped:
        outputs = sum(len(rows) for rows in dropped.values())
        notes.append(
            f"{outputs} outputs of {len(dropped)} layers are cut off by the draw and hold no connections: params, macs "
            "and weight_memory count what is left"
        )
    return Connections(
        seeds=seeds,
        chosen=chosen,
        kept=kept,
        rewired={name: tuple(moves) for name, moves in fixed.rewired.items() if moves},
        dropped=dropped,
        saved=saved if dropped else {},
        notes=tuple(notes),
    )


def _share_of(layer: Layer, option: Option, rows: Sequence[int], units: int, item: int) -> dict[str, int]:
    """What the dropped of all `units` rows hold: every row of a pattern keeps the same number of connections."""
    from advisor.patterns.base import pattern

    costs = pattern(option.pattern)
    return {
        "params": costs.kept_weights(layer, option) * len(rows) // units,
        "macs": costs.macs(layer, option) * len(rows) // units,
        "weight_memory": costs.storage_bytes(layer, option, item) * len(rows) // units,
    }


def _scores(network: Network, layer: Layer, option: Option) -> NDArray[np.float64]:
    from advisor.patterns.saliency import unit_scores

    return unit_scores(layer, option, weight_of(network, layer))


def _kept_channels(
    network: Network,
    options: Mapping[str, Option],
    levels: Mapping[str, float],
    rounding: str,
    *,
    by_weights: bool,
) -> dict[str, tuple[Indices, Indices]]:
    """Kept channels of the narrowed layers: the first ones, or by the squared norms of the coupled filters."""
    narrowed = [name for name, option in options.items() if option.pattern == "width"]
    if not narrowed:
        return {}
    from advisor.runtime.narrow import kept_channels

    weights = {layer.name: weight_of(network, layer) for layer in network.sparsifiable} if by_weights else None
    kept = kept_channels(network, levels, rounding, weights=weights)
    return {name: kept[name] for name in narrowed}
