"""Designs: plans at their budgets, of every style, told apart, and the same again from the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from advisor.errors import BudgetError, PlanError
from advisor.network import Network
from advisor.planning.sensitivity.trained import families_of, prior_of, shares_of
from validation.learning.designed import design, informative, styles


def test_styles_are_each_pattern_alone_and_all_mixed() -> None:
    assert styles(["channel", "width", "dense", "channel"]) == (("channel",), ("width",), ("channel", "width"))
    assert styles(["group"]) == (("group",),)


def test_plans_lie_at_their_budgets(network: Network) -> None:
    plans = design(network, 8, budgets=[["macs=60%"], ["macs=40%"]], patterns=["channel", "width"])
    assert len(plans) == 8
    limits = {round(plan.costs["macs"].budget / network.macs, 3) for plan in plans if plan.costs["macs"].budget}
    assert limits == {0.6, 0.4}
    for plan in plans:
        line = plan.costs["macs"]
        assert line.budget is not None
        assert 0.8 * line.budget < line.plan <= line.budget
        assert plan.masks()
    assert len({repr(plan.to_json()["layers"]) for plan in plans}) == 8


def test_the_seed_decides(network: Network) -> None:
    def layers(seed: int) -> list[object]:
        return [plan.to_json()["layers"] for plan in design(network, 3, budgets=[["macs=50%"]], seed=seed)]

    assert layers(1) == layers(1)
    assert layers(1) != layers(2)


def test_chosen_plans_tell_more_than_the_first(network: Network) -> None:
    """The determinant of the information is larger than that of as many plans taken as they come."""
    from advisor.planning.build import build_table
    from advisor.planning.menu.options import menu
    from validation.learning.designed import drawn, options_of

    patterns = ("channel", "width")
    built = build_table(network, menu(network, patterns), sensitivity="uniform")
    plans = [options_of(built, one) for one in drawn(network, built, [{"macs": 0.5 * network.macs}], patterns, 24, 0)]
    gradients = prior_of(network).gradients(shares_of(network, plans, families_of(network, plans)))

    def told(rows: list[int]) -> float:
        chosen = gradients[rows] / np.linalg.norm(gradients, axis=1).mean() / 0.2
        return float(np.linalg.slogdet(np.eye(chosen.shape[1]) + chosen.T @ chosen)[1])

    best = informative(network, plans, 6)
    assert len(set(best)) == 6
    assert told(best) > told(list(range(6)))


def test_what_cannot_be_is_refused(network: Network) -> None:
    with pytest.raises(PlanError, match="0 plans"):
        design(network, 0, budgets=[["macs=50%"]])
    with pytest.raises(PlanError, match="--budget"):
        design(network, 3, budgets=[])
    with pytest.raises(BudgetError, match="macs"):
        design(network, 3, budgets=[["macs=0.01%"]])
