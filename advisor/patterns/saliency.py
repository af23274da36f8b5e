"""Which connections of trained weights matter: squared magnitude per unit of a pattern."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from advisor.errors import PatternError
from advisor.network import Layer
from advisor.patterns.base import pattern
from advisor.patterns.draw import Floats
from advisor.patterns.option import Option


def unit_scores(layer: Layer, option: Option, weight: npt.NDArray[Any]) -> Floats:
    """Sum of squares of each unit's weights, in float64; the argument `scores` of `Pattern.connections`.

    Args:
        layer: whose weight it is.
        option: a legal option.
        weight: in the stored shape.

    Raises:
        PatternError: the option is not legal, or the weight has another shape or holds NaN or infinity.
    """
    values = np.asarray(weight, dtype=np.float64)
    if not np.isfinite(values).all():
        raise PatternError(f"layer {layer.name}: its weight holds NaN or infinity, so nothing can be chosen by it")
    return pattern(option.pattern).unit_sums(layer, option, np.square(values))


def magnitude_loss(layer: Layer, option: Option, weight: npt.NDArray[Any]) -> float:
    """Share of the layer's squared weight that the best legal choice at `option` removes, 0 to 1.

    A weight of zeros loses nothing. For width it is what this layer would lose if it could choose its channels alone:
    rows first, then columns, so an upper bound of the best choice and, coupling left out, no bound of the real one.
    """
    scores = unit_scores(layer, option, weight)
    total = float(scores.sum())
    if total == 0:
        return 0.0
    kept = pattern(option.pattern).connections(layer, option, seed=0, scores=scores)
    return min(1.0, max(0.0, 1.0 - float(scores[kept].sum()) / total))
