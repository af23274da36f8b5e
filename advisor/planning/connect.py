"""After the options are chosen: which connections, and what the repair of dead channels changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from advisor.examples import NOTHING_GIVEN, Given
from advisor.patterns.option import Option
from advisor.patterns.saliency import unit_worth
from advisor.planning.build import item_bytes
from advisor.planning.selections import worth_for

if TYPE_CHECKING:
    from advisor.coupling.keep import Flags
    from advisor.network import Layer, Network
    from advisor.saliency import Scores

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Rewired = tuple[tuple[int, int, int], ...]
_REPAIRED = ("channel", "group")


@dataclass(frozen=True, slots=True, kw_only=True)
class Connections:
    """What `PlanLayer` and `Plan.chosen` hold beside the options; layers that need nothing are absent.

    `chosen`, `rewired` and `dropped` count in the layers that width leaves. `saved` is cost → what the dropped
    connections take off the table's total.
    """

    seeds: Mapping[str, int]
    chosen: Mapping[str, Bools] | None = None  # before the repair; None where a seed draws them
    kept: Mapping[str, tuple[Indices, Indices]] = field(default_factory=dict)  # narrowed: (inputs, outputs) that stay
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
    given: Given = NOTHING_GIVEN,
) -> Connections:
    """Draws or chooses the connections of every masked layer and repairs dead channels.

    Args:
        network: analysed; every selection but "random" needs its real weights.
        options: layer → option.
        seed: of the plan; each layer draws from `layer_seed(seed, name)`.
        selection: "random", or by what the connections that are worth most are found; see `planning.selections`.
        levels: width group → factor, of those that are narrowed.
        rounding: how width rounds.
        given: data, for selections that need it.
    """
    from advisor.patterns.base import layer_seed, pattern
    from advisor.patterns.narrowed import thinned

    seeds = {layer.name: layer_seed(seed, layer.name) for layer in network.sparsifiable}
    worth = worth_for(network, selection, given)
    flags = _flags(network, levels, rounding, worth) if _narrows(options) else None
    kept = _kept_channels(network, options, flags)
    # Within the channels that stay, everything goes on as in a network of these layers.
    under = {layer.name: thinned(layer, options[layer.name]) for layer in network.sparsifiable}
    layers = {name: layer for name, (layer, _) in under.items()}
    masked = {name: option for name, (_, option) in under.items() if option.pattern != "dense"}
    scores = {}
    if worth is not None:
        for name, option in masked.items():
            rest = remaining_weight(network.layer(name), layers[name], worth[name], kept)
            scores[name] = unit_worth(layers[name], option, rest)
    made: dict[str, tuple[Option, Bools]] = {
        name: (
            option,
            pattern(option.pattern).connections(layers[name], option, seed=seeds[name], scores=scores.get(name)),
        )
        for name, option in masked.items()
    }
    chosen = {name: connections for name, (_, connections) in made.items()} if scores else None
    if not any(option.pattern in _REPAIRED for option in masked.values()):
        return Connections(seeds=seeds, chosen=chosen, kept=kept)
    from advisor.coupling.remaining import remaining_graph
    from advisor.patterns.connectivity import repair

    coupling = network.coupling
    graph = coupling.graph if flags is None else remaining_graph(coupling, flags)
    _, fixed = repair(graph, layers, made, scores or None)
    dropped = {name: tuple(rows) for name, rows in fixed.dropped.items() if rows}
    saved: dict[str, int] = {"params": 0, "macs": 0, "weight_memory": 0}
    item = item_bytes(network)
    for name, rows in dropped.items():
        for key, amount in _share_of(layers[name], masked[name], rows, len(made[name][1]), item[name]).items():
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


def remaining_weight(
    layer: Layer,
    smaller: Layer,
    weight: Floats,
    kept: Mapping[str, tuple[Indices, Indices]],
) -> Floats:
    """The weight (or what its elements are worth), as stored, of the channels that width leaves a layer.

    Args:
        layer: as it is.
        smaller: as width leaves it.
        weight: of the layer.
        kept: layer → (input channels, output channels) that stay; the layer's are all where it is absent.
    """
    from advisor.patterns.layout import logical, stored
    from advisor.patterns.narrowed import kept_connections, take

    if layer.name not in kept:
        return weight
    inputs, outputs = np.zeros(layer.in_channels, np.bool_), np.zeros(layer.out_channels, np.bool_)
    inputs[kept[layer.name][0]], outputs[kept[layer.name][1]] = True, True
    return stored(take(logical(weight, layer), kept_connections(inputs, outputs, layer), smaller), smaller)


def _narrows(options: Mapping[str, Option]) -> bool:
    from advisor.patterns.narrowed import is_narrowed

    return any(is_narrowed(option) for option in options.values())


def _flags(network: Network, levels: Mapping[str, float], rounding: str, worth: Scores | None) -> Flags:
    """Which channel classes stay: the first ones, or those whose coupled filters are worth most."""
    from advisor.coupling.keep import class_worth, kept_classes

    scores = None
    if worth is not None:
        transposed = {layer.name: layer.transposed for layer in network.sparsifiable}
        scores = class_worth(network.coupling, worth, transposed)
    return kept_classes(network.coupling, levels, rounding, scores=scores)


def _kept_channels(
    network: Network, options: Mapping[str, Option], flags: Flags | None
) -> dict[str, tuple[Indices, Indices]]:
    """(Input channels, output channels) that stay of the narrowed layers."""
    if flags is None:
        return {}
    from advisor.patterns.narrowed import is_narrowed
    from advisor.runtime.narrow import kept_sides

    kept = kept_sides(network.coupling, flags)
    return {name: kept[name] for name, option in options.items() if is_narrowed(option)}
