"""What a missing connection is estimated to cost: one loss per option, comparable across layers and patterns.

Importing the package fills the table of sensitivities.
"""

from advisor.examples import NOTHING_GIVEN, Given
from advisor.planning.sensitivity import probe, shapes, trained, worth  # noqa: F401  # they fill the table
from advisor.planning.sensitivity.registry import (
    SENSITIVITIES,
    Estimate,
    Estimated,
    Floats,
    Losses,
    Options,
    Sensitivity,
    checked_rates,
    estimate,
    losses,
    register,
    sensitivity_named,
)
from advisor.planning.sensitivity.shapes import kept_share
from advisor.planning.sensitivity.worth import losses_by_worth
from advisor.saliency import weight_of

__all__ = [
    "NOTHING_GIVEN",
    "SENSITIVITIES",
    "Estimate",
    "Estimated",
    "Floats",
    "Given",
    "Losses",
    "Options",
    "Sensitivity",
    "checked_rates",
    "estimate",
    "kept_share",
    "losses",
    "losses_by_worth",
    "register",
    "sensitivity_named",
    "weight_of",
]
