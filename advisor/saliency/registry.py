"""The protocol of saliencies, the table of them, and how one is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from advisor.errors import AdvisorError, PlanError, unknown

if TYPE_CHECKING:
    from advisor.examples import Given
    from advisor.network import Network

Floats = NDArray[np.float64]
Scores = dict[str, Floats]  # layer → its weight's stored shape
Need = Literal["weights", "data", "gradients"]


class Score(Protocol):
    """Computes scores: the larger, the more a weight is worth. Deterministic for one `given`; changes no module."""

    def __call__(self, network: Network, given: Given) -> Scores: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Saliency:
    """A way to score weights.

    Attributes:
        needs: real "weights", labelled "data" beside them, or "gradients" of a loss on that data.
        trained: whether the weights must have been trained to mean anything.
        signed: whether scores may be negative: to remove such a weight is a gain to first order. Sums over the weights
            of a connection or block then come before the sign is looked at.
        source: what the scores are, and whose they are.
    """

    name: str
    needs: Need
    score: Score
    trained: bool
    signed: bool
    source: str


SALIENCIES: dict[str, Saliency] = {}


def register(
    name: str, *, needs: Need, source: str, trained: bool = False, signed: bool = False
) -> Callable[[Score], Score]:
    """Files a score under its name."""

    def file(score: Score) -> Score:
        if name in SALIENCIES:
            raise AdvisorError(f"saliency {name!r} is registered twice")
        SALIENCIES[name] = Saliency(name=name, needs=needs, score=score, trained=trained, signed=signed, source=source)
        return score

    return file


def scores_of(network: Network, name: str, given: Given) -> Scores:
    """Every sparsifiable layer's scores, computed once for one `given`.

    Raises:
        PlanError: an unknown saliency, weights that were never allocated, data that is missing, or scores that are no
            finite numbers.
    """
    if name not in SALIENCIES:
        raise PlanError(unknown("saliency", str(name), SALIENCIES))
    chosen = SALIENCIES[name]
    if chosen.needs != "weights" and given.calibration is None:
        raise PlanError(f"{name} needs labelled data; give batches of (inputs, targets) as data=, or --data NAME")
    key = ("scores", name, id(network))
    if key not in given.memo:
        found = chosen.score(network, given)
        for layer in network.sparsifiable:
            scores = found[layer.name]
            if not np.isfinite(scores).all():
                raise PlanError(
                    f"layer {layer.name}: its {name} scores hold NaN or infinity: weights or data do, or are too "
                    "large; mend them, or choose another way"
                )
        given.memo[key] = found
    scores_here: Scores = given.memo[key]
    return scores_here
