"""From scores of weights to losses of options: what the best legal choice of a pattern removes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from advisor.examples import Given
from advisor.patterns.option import Option
from advisor.planning.narrowing import Narrowing
from advisor.planning.sensitivity.registry import Floats, Losses, Options, register
from advisor.saliency import SALIENCIES, Scores, scores_of

if TYPE_CHECKING:
    from advisor.network import Layer, Network


def losses_by_worth(network: Network, options: Options, scores: Scores, *, signed: bool = False) -> Losses:
    """Per layer (K,) what each option removes, as a share of what the whole network's weights are worth.

    A masked pattern keeps what is worth most of what is legal. Width removes the channels that the coupled layers lose
    together. Where all is worth nothing, nothing is lost.

    Args:
        network: analysed.
        options: layer → options.
        scores: layer → worth of each weight, in the stored shape, finite.
        signed: scores may be negative: summed over each connection or block first, what is then negative costs nothing.
    """
    worth = {name: _summed_by_connection(values) for name, values in scores.items()} if signed else scores
    narrowing = Narrowing(network, worth)
    found = {
        layer.name: np.array(
            [_removed(layer, option, scores[layer.name], narrowing, signed) for option in options.get(layer.name, ())],
            np.float64,
        )
        for layer in network.sparsifiable
    }
    total = float(sum(np.maximum(values, 0.0).sum() for values in scores.values())) or 1.0
    return {name: np.maximum(removed, 0.0) / total for name, removed in found.items()}


def _removed(layer: Layer, option: Option, scores: Floats, narrowing: Narrowing, signed: bool) -> float:
    from advisor.patterns.layout import logical, stored
    from advisor.patterns.narrowed import is_combined, is_narrowed, kept_connections, take, thinned, width_option
    from advisor.patterns.saliency import removed_worth

    if option.pattern == "dense":
        return 0.0
    if not is_narrowed(option):
        return removed_worth(layer, option, scores, signed=signed)
    narrow = width_option(option)
    removed = narrowing.removed(layer, narrow)
    if is_combined(option):  # the rest is chosen within the channels that stay
        smaller, inner = thinned(layer, option)
        rest = take(logical(scores, layer), kept_connections(*narrowing.kept(layer, narrow), layer), smaller)
        removed += removed_worth(smaller, inner, stored(rest, smaller), signed=signed)
    return removed


def _summed_by_connection(scores: Floats) -> Floats:
    """Each connection's sum over its taps, at least 0, spread evenly over the taps again."""
    taps = tuple(range(2, scores.ndim))
    if not taps:
        return np.maximum(scores, 0.0)
    return np.broadcast_to(np.maximum(scores.mean(axis=taps, keepdims=True), 0.0), scores.shape)


def _estimate(name: str, *, signed: bool) -> None:
    chosen = SALIENCIES[name]

    def estimate(network: Network, options: Options, given: Given) -> Losses:
        return losses_by_worth(network, options, scores_of(network, name, given), signed=signed)

    register(name, needs=chosen.needs, trained=chosen.trained, chooses=True)(estimate)


for _name, _saliency in SALIENCIES.items():
    _estimate(_name, signed=_saliency.signed)
