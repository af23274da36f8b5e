"""Scores from the weights alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from advisor.errors import PatternError, PlanError
from advisor.examples import Given
from advisor.saliency.registry import Floats, Scores, register

if TYPE_CHECKING:
    from advisor.network import Layer, Network


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
            f"network {network.name!r} was built without memory, so {layer.weight} has no values; what ranks weights "
            "needs real ones: give trained ones (--weights FILE), or build the model on the CPU"
        )
    array: NDArray[np.floating] = parameter.detach().float().cpu().numpy()
    return array


def finite_weight(network: Network, layer: Layer) -> Floats:
    """A layer's weight in float64.

    Raises:
        PatternError: it holds NaN or infinity.
    """
    values = np.asarray(weight_of(network, layer), np.float64)
    if not np.isfinite(values).all():
        raise PatternError(f"layer {layer.name}: its weight holds NaN or infinity, so nothing can be chosen by it")
    return values


@register("magnitude", needs="weights", trained=True, source="squared weights")
def magnitude(network: Network, given: Given) -> Scores:
    return {layer.name: np.square(finite_weight(network, layer)) for layer in network.sparsifiable}


@register("lamp", needs="weights", trained=True, source="layer-adaptive magnitude (Lee et al., ICLR 2021)")
def lamp(network: Network, given: Given) -> Scores:
    return {layer.name: lamp_scores(finite_weight(network, layer)) for layer in network.sparsifiable}


def lamp_scores(weight: Floats) -> Floats:
    """w_u² / Σ w_v² over all v that are not smaller, of one layer, in the weight's shape (Lee et al. 2021, eq. 2).

    The largest weight scores 1, zeros score 0; of equal weights the later one counts as the larger. The scores of all
    layers in one list, the smallest removed first, are the paper's global pruning.
    """
    squares = np.square(np.asarray(weight, np.float64)).ravel()
    order = np.argsort(squares, kind="stable")
    ranked = squares[order]
    left = np.cumsum(ranked[::-1])[::-1]  # what is left when all smaller ones are gone, itself included
    scores = np.empty_like(squares)
    scores[order] = np.divide(ranked, left, out=np.zeros_like(ranked), where=left > 0)
    return scores.reshape(weight.shape)
