"""What refining a plan found, round by round, and how it stands in a plan file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One measured cost of one plan on the way to the one that was kept. Amounts are in the cost's unit.

    Attributes:
        number: from 1.
        cost: which one was measured; "loss" of a round of training, where the amounts are the rise of the loss over
            the dense network's: predicted in the unit of the sensitivity, measured the mean over seeds, from `low` to
            `high` the seeds themselves; `dense` is then the dense network's loss.
        predicted: what the table, as it was corrected by then, said of this plan. Of times it is given at the pace at
            which the dense network ran meanwhile: predicted share of dense x `dense`.
        measured: median of the plan over the dense network, paired run by run, x `dense`; `low` to `high` is its 95 %
            interval. Where a plan was measured in several rounds, all of them count.
        dense: the dense network, over all rounds so far.
        budget: the limit; a share of `dense` where it was given as a share. None for the loss.
        factors: way in which layers run ("group by direct") → factor on what they take, as the table was corrected.
        offset: added to the whole, in the table's own scale.
        within: at most the budget and not more than 3 % below it.
        kept: whether this is the plan that was kept.
    """

    number: int
    cost: str
    predicted: float
    measured: float
    low: float
    high: float
    dense: float
    budget: float | None = None
    factors: Mapping[str, float] = field(default_factory=dict)
    offset: float = 0.0
    within: bool
    kept: bool = False


def rounds_document(rounds: Sequence[Round]) -> list[dict[str, Any]]:
    """Plain data, as the plan file has it."""
    return [asdict(item) | {"factors": dict(item.factors)} for item in rounds]


def rounds_from(items: Sequence[Mapping[str, Any]]) -> tuple[Round, ...]:
    """From a document that the schema has passed."""
    return tuple(Round(**item) for item in items)
