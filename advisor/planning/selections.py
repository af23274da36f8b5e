"""Which connections stay, once the densities are set: by the seed, or by what they are worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from advisor.errors import PlanError, unknown
from advisor.examples import Given

if TYPE_CHECKING:
    from advisor.network import Network
    from advisor.saliency import Scores

# Selection → the saliency that ranks by; None draws from the seed.
SELECTIONS: Mapping[str, str | None] = {
    "random": None,
    "magnitude": "magnitude",
    "taylor": "taylor1",
    "fisher": "fisher",
}

DATA_SELECTIONS = ("taylor", "fisher")


def check_name(name: str) -> None:
    """Refuses a selection that does not exist.

    Raises:
        PlanError: an unknown name, or "reconstruct", which chooses nothing.
    """
    if name == "reconstruct":
        raise PlanError(
            "selection 'reconstruct' fits weights anew and chooses no connections: make the plan with magnitude, "
            "taylor or fisher, then call advisor.reconstruct(plan, model, data)"
        )
    if name not in SELECTIONS:
        raise PlanError(unknown("selection", str(name), SELECTIONS))


def check_selection(name: str, given: Given) -> None:
    """As `check_name`, and that the data is there which it needs.

    Raises:
        PlanError: as `check_name`, or data that is missing.
    """
    check_name(name)
    if name in DATA_SELECTIONS and given.calibration is None:
        raise PlanError(
            f"selection {name!r} needs labelled data; give batches of (inputs, targets) as data=, or --data NAME"
        )


def worth_for(network: Network, selection: str, given: Given) -> Scores | None:
    """What each weight is worth to a selection, layer by layer; None where the seed decides."""
    from advisor.saliency import scores_of

    saliency = SELECTIONS[selection]
    return None if saliency is None else scores_of(network, saliency, given)
