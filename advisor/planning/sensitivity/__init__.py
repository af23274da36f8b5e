"""What a missing connection is estimated to cost: one loss per option, comparable across layers and patterns."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from advisor.errors import AdvisorError, PlanError, unknown
from advisor.patterns.option import Option
from advisor.planning.allocation import erk_scores

if TYPE_CHECKING:
    from advisor.network import Layer, Network

Floats = NDArray[np.float64]
Options = Mapping[str, tuple[Option, ...]]
Losses = dict[str, Floats]  # layer → (K,)
Estimate = Callable[["Network", Options], Losses]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """A way to estimate losses, and what it needs of the user."""

    name: str
    needs: Literal["nothing", "weights"]
    estimate: Estimate


SENSITIVITIES: dict[str, Sensitivity] = {}


def register(name: str, *, needs: Literal["nothing", "weights"]) -> Callable[[Estimate], Estimate]:
    """Files an estimate under its name."""

    def file(estimate: Estimate) -> Estimate:
        if name in SENSITIVITIES:
            raise AdvisorError(f"sensitivity {name!r} is registered twice")
        SENSITIVITIES[name] = Sensitivity(name=name, needs=needs, estimate=estimate)
        return estimate

    return file


def losses(network: Network, options: Options, name: str, exchange: Mapping[str, float] | None = None) -> Losses:
    """Per layer (K,) the estimated loss of each option, 0 for dense.

    Args:
        network: analysed; its weights must be real where the sensitivity needs them.
        options: layer → options.
        name: of the sensitivity.
        exchange: pattern → factor on its losses, as measured by a validation; 1 where it is silent.

    Raises:
        PlanError: an unknown sensitivity, weights that were never allocated, an unknown pattern or a rate that is not
            positive.
    """
    if name not in SENSITIVITIES:
        raise PlanError(unknown("sensitivity", name, SENSITIVITIES))
    rates = checked_rates(exchange or {})
    found = SENSITIVITIES[name].estimate(network, options)
    return {
        layer: np.array(
            [loss * rates.get(option.pattern, 1.0) for loss, option in zip(found[layer], choices, strict=True)]
        )
        for layer, choices in options.items()
    }


def checked_rates(rates: Mapping[str, float]) -> dict[str, float]:
    """The exchange rates, or what is wrong with them."""
    from advisor.patterns.base import pattern_names

    for name, rate in rates.items():
        if name not in pattern_names():
            raise PlanError("exchange: " + unknown("pattern", name, pattern_names()))
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not math.isfinite(rate) or rate <= 0:
            raise PlanError(f"exchange rate of pattern {name!r} is {rate!r}; expected a positive number")
    return {name: float(rate) for name, rate in rates.items()}


@register("erk", needs="nothing")
def _erk(network: Network, options: Options) -> Losses:
    """Under one parameter budget and free densities the best plan is exactly ERK (see `allocation.fill`)."""
    return _log_shaped(network, options, erk_scores([layer.weight_shape for layer in network.sparsifiable]))


@register("uniform", needs="nothing")
def _uniform(network: Network, options: Options) -> Losses:
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


@register("magnitude", needs="weights")
def _magnitude(network: Network, options: Options) -> Losses:
    """Squared weight that the choice by magnitude removes, as a share of the network's squared weight.

    A masked pattern removes least of what is legal. Width removes the channels that the coupled layers lose together.
    """
    from advisor.patterns.saliency import magnitude_loss
    from advisor.planning.narrowing import Narrowing

    weights = {layer.name: weight_of(network, layer) for layer in network.sparsifiable}
    narrowing = Narrowing(network, weights)
    squares, removed = {}, {}
    for layer in network.sparsifiable:
        weight = weights[layer.name]
        squares[layer.name] = float(np.sum(np.square(weight, dtype=np.float64)))
        removed[layer.name] = np.array(
            [
                narrowing.loss(layer, option) if option.pattern == "width" else magnitude_loss(layer, option, weight)
                for option in options.get(layer.name, ())
            ],
            np.float64,
        )
    total = sum(squares.values()) or 1.0
    return {name: np.clip(share, 0.0, 1.0) * squares[name] / total for name, share in removed.items()}


def kept_share(layer: Layer, option: Option) -> float:
    """Kept weights / all weights of the layer, after the pattern's rounding."""
    from advisor.patterns.base import pattern

    return 1.0 if option.pattern == "dense" else pattern(option.pattern).kept_weights(layer, option) / layer.weights


def weight_of(network: Network, layer: Layer) -> NDArray[np.floating]:
    """A layer's real weight, as stored.

    Raises:
        PlanError: the network was built without memory, or its module was not kept.
    """
    if network.module is None:
        raise PlanError(f"network {network.name!r} was analysed without keeping its module; analyse it again")
    parameter = network.module.get_parameter(str(layer.weight))
    if parameter.is_meta:
        raise PlanError(
            f"network {network.name!r} was built without memory, so {layer.weight} has no values; magnitude needs real "
            "weights: give trained ones (--weights FILE), or build the model on the CPU"
        )
    array: NDArray[np.floating] = parameter.detach().float().cpu().numpy()
    return array
