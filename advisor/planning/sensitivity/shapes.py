"""Losses from shapes alone: under a parameter budget the best plan is a known allocation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from advisor.examples import Given
from advisor.patterns.option import Option
from advisor.planning.allocation import er_scores, erk_scores
from advisor.planning.sensitivity.registry import Floats, Losses, Options, register

if TYPE_CHECKING:
    from advisor.network import Layer, Network


@register("erk", needs="nothing")
def _erk(network: Network, options: Options, given: Given) -> Losses:
    """Under one parameter budget and free densities the best plan is exactly ERK (see `allocation.fill`)."""
    return _log_shaped(network, options, erk_scores([layer.weight_shape for layer in network.sparsifiable]))


@register("er", needs="nothing")
def _er(network: Network, options: Options, given: Given) -> Losses:
    """As ERK, with densities in the shape of ER: kernels play no part (Mocanu et al. 2018, SET)."""
    return _log_shaped(network, options, er_scores([layer.weight_shape for layer in network.sparsifiable]))


@register("uniform", needs="nothing")
def _uniform(network: Network, options: Options, given: Given) -> Losses:
    """Under one parameter budget and free densities the best plan has the same density everywhere."""
    return _log_shaped(network, options, np.array([layer.weights for layer in network.sparsifiable], np.float64))


def _log_shaped(network: Network, options: Options, scores: Floats) -> Losses:
    # loss = s_l · (−ln d), s normalised to sum 1, d the share of the layer's weights that is really kept
    shares = dict(zip((layer.name for layer in network.sparsifiable), scores / scores.sum(), strict=True))
    found = {}
    for layer in network.sparsifiable:
        choices = options.get(layer.name, ())
        kept = np.array([kept_share(layer, option) for option in choices])
        found[layer.name] = shares[layer.name] * np.abs(np.log(kept))
    return found


def kept_share(layer: Layer, option: Option) -> float:
    """Kept weights / all weights of the layer, after the pattern's rounding."""
    from advisor.patterns.base import pattern

    return 1.0 if option.pattern == "dense" else pattern(option.pattern).kept_weights(layer, option) / layer.weights
