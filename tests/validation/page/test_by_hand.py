"""A plan changed by hand: what it then costs is what the table says, and what cannot be is not offered."""

from __future__ import annotations

import numpy as np
import pytest

import advisor
from advisor.network import Network
from advisor.zoo import ZOO
from validation.page.asked import arguments, offered, problem
from validation.page.by_hand import ByHand


@pytest.fixture(scope="module")
def digits() -> Network:
    entry = ZOO["digits_cnn"]
    return advisor.analyze(entry.build(entry.classes), entry.input_shape, name="zoo:digits_cnn")


def hand_of(network: Network, *patterns: str, budget: str = "60%") -> ByHand:
    plan = advisor.plan(network, budgets={"macs": budget}, patterns=patterns)
    assert plan.basis is not None
    return ByHand(basis=plan.basis())


def test_it_starts_as_the_plan(digits: Network) -> None:
    hand = hand_of(digits, "channel")
    assert hand.changed == {}
    assert all(total.now == total.plan for total in hand.totals())
    before, now = hand.losses()
    assert before == now
    assert hand.totals()[0].key == "macs"
    assert hand.totals()[0].budget == pytest.approx(0.6 * digits.macs)
    assert "classifier" not in hand.subjects


def test_totals_are_the_tables(digits: Network) -> None:
    hand = hand_of(digits, "channel", "group")
    table = hand.basis.table
    labels, at = hand.options("features.8")
    place = (at + 3) % len(labels)
    hand.take("features.8", place)
    assert hand.options("features.8")[1] == place
    (changed,) = hand.changed
    assert changed == "features.8"
    assert hand.changed["features.8"][1] == labels[place]
    for total in hand.totals():
        assert total.now == table.total(total.key, hand.choice)
    assert hand.losses()[1] == table.objective(hand.choice)
    assert labels[place].removesuffix(" d=1") in hand.why("features.8")
    hand.back()
    assert hand.changed == {}
    assert hand.turn == 1


def test_over_a_budget_is_said(digits: Network) -> None:
    hand = hand_of(digits, "channel", budget="40%")
    assert all(total.met for total in hand.totals())
    for name in hand.subjects:
        labels, _ = hand.options(name)
        hand.take(name, labels.index("dense d=1"))
    assert not hand.totals()[0].met


def test_a_width_moves_with_all_its_layers(digits: Network) -> None:
    hand = hand_of(digits, "width")
    group = next(name for name in hand.subjects if name.startswith("width of "))
    labels, at = hand.options(group)
    assert len(labels) > 1
    place = len(labels) - 1 if at != len(labels) - 1 else 0
    hand.take(group, place)
    assert len(hand.changed) >= 2, "a group has a layer on either side"
    assert hand.options(group)[1] == place
    assert hand.basis.table.agrees(hand.choice)
    assert group.removeprefix("width of ") in hand.why(group)


def test_options_that_disagree_about_a_width_are_not_offered(digits: Network) -> None:
    hand = hand_of(digits, "channel", "width")
    table = hand.basis.table
    rng = np.random.default_rng(0)
    for _ in range(30):
        subject = hand.subjects[rng.integers(len(hand.subjects))]
        labels, _ = hand.options(subject)
        hand.take(subject, int(rng.integers(len(labels))))
        assert table.agrees(hand.choice)


def test_what_is_asked_of_layers_is_read_and_checked(digits: Network) -> None:
    assert arguments(["a=dense", "b.*=group d=0.25 block=16"], ["c=width", "c=group,channel"]) == {
        "pins": {"a": "dense", "b.*": "group d=0.25 block=16"},
        "forbidden": {"c": ["width", "group", "channel"]},
    }
    assert arguments([], []) == {}
    assert problem("a=dense", "pin") == ""
    assert problem("a=channel,group", "forbid") == ""
    assert "expected LAYER=OPTION" in problem("dense", "pin")
    assert "expected LAYER=PATTERN" in problem("=width", "forbid")
    assert "density" in problem("a=2.5", "pin")
    pins, forbidden = offered(digits, ("channel",))
    assert "features.8=dense" in pins
    assert "features.8=channel" in forbidden
    assert offered(None, ("channel",)) == ([], [])
