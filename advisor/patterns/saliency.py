"""Which connections of trained weights matter: what the weights of a pattern's units are worth together."""

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
    return unit_worth(layer, option, np.square(np.asarray(weight, dtype=np.float64)))


def unit_worth(layer: Layer, option: Option, worth: npt.NDArray[Any]) -> Floats:
    """As `unit_scores`, of any worth of the weights, in the stored shape."""
    values = np.asarray(worth, dtype=np.float64)
    if not np.isfinite(values).all():
        raise PatternError(f"layer {layer.name}: its weight holds NaN or infinity, so nothing can be chosen by it")
    return pattern(option.pattern).unit_sums(layer, option, values)


def removed_worth(layer: Layer, option: Option, worth: npt.NDArray[Any], *, signed: bool = False) -> float:
    """What the best legal choice at `option` removes, in the unit of `worth`.

    Args:
        layer: whose weights they are.
        option: a legal option of a masked pattern.
        worth: of each weight, in the stored shape.
        signed: units worth less than nothing are removed first, and for nothing.
    """
    scores = unit_worth(layer, option, worth)
    kept = pattern(option.pattern).connections(layer, option, seed=0, scores=scores)
    if signed:
        scores = np.maximum(scores, 0.0)
    return max(0.0, float(scores[~kept].sum()))


def magnitude_loss(layer: Layer, option: Option, weight: npt.NDArray[Any]) -> float:
    """Share of the layer's squared weight that the best legal choice at `option` removes, 0 to 1.

    A weight of zeros loses nothing. For width it is what this layer would lose if it could choose its channels alone:
    rows first, then columns, so an upper bound of the best choice and, coupling left out, no bound of the real one.
    """
    squares = np.square(np.asarray(weight, dtype=np.float64))
    total = float(squares.sum())
    return min(1.0, removed_worth(layer, option, squares) / total) if total else 0.0
