"""What an estimate may look at beside the network and its options."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advisor.examples.batches import Calibration
    from advisor.planning.sensitivity.trained_data import Responses


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the user gave, for one question to the planner.

    Attributes:
        calibration: labelled examples; None where there are none.
        responses: what short training runs of plans reached; None where there are none.
        seed: of everything that draws.
        memo: results that several steps of this question share (scores for the losses and for the selection). Weights
            may change between two questions, so nothing outlives it.
    """

    calibration: Calibration | None = None
    responses: Responses | None = None
    seed: int = 0
    memo: dict[Hashable, Any] = field(default_factory=dict, repr=False, compare=False)


NOTHING_GIVEN = Given()
