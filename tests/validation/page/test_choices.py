"""Choices to the address and back, and what stands between them and a plan."""

from dataclasses import replace
from pathlib import Path

import pytest

from advisor.devices.profile import load_profile
from validation.page.choices import (
    Choices,
    budget_problem,
    cost_needs,
    default_choices,
    from_query,
    input_problem,
    problems,
    selectable_patterns,
    selectable_sensitivities,
    to_query,
)
from validation.page.offer import Offer

OFFER = Offer(models=("net.py:build",), profiles=("mine.json",), home=Path("/nonexistent"))


def through_the_address(choices: Choices) -> tuple[Choices, tuple[str, ...]]:
    query = {key: [value] if isinstance(value, str) else value for key, value in to_query(choices).items()}
    return from_query(query, OFFER)


@pytest.mark.parametrize(
    "choices",
    [
        Choices(model="torchvision:resnet50"),
        Choices(model="zoo:digits_cnn", budgets={"macs": "50%", "weight_memory": "40MiB"}),
        Choices(
            model="net.py:build",
            input_text="1x3x64x64",
            profile="mine.json",
            patterns=("n:m", "block"),
            budgets={"latency": "12.5 ms"},
            sensitivity="magnitude",
            include_ends=True,
        ),
        Choices(model="zoo:digits_cnn", profile="energy-45nm", patterns=(), sensitivity="uniform"),
    ],
)
def test_choices_survive_the_address(choices: Choices) -> None:
    assert through_the_address(choices) == (choices, ())


def test_an_empty_address_is_one_click_from_a_plan() -> None:
    choices, complaints = from_query({}, OFFER)
    assert complaints == ()
    assert choices == default_choices(OFFER)
    assert problems(choices, None) == ()


def test_what_cannot_be_followed_is_said() -> None:
    query = {
        "model": ["/tmp/evil.py:build"],
        "profile": ["/etc/passwd"],
        "patterns": ["group,nonsense"],
        "budget": ["cost=1", "macs=30%"],
        "sensitivity": ["magnitude"],
    }
    choices, complaints = from_query(query, Offer(models=(), profiles=(), home=Path("/nonexistent")))
    assert choices.model == "zoo:digits_cnn"
    assert choices.patterns == ("group",)
    assert choices.budgets == {"macs": "30%"}
    assert (choices.profile, choices.sensitivity) == ("", "erk")
    assert len(complaints) == 5


def test_weights_count_only_for_networks_of_ones_own() -> None:
    assert "magnitude" not in selectable_sensitivities("torchvision:resnet18", OFFER)
    assert "magnitude" in selectable_sensitivities("net.py:build", OFFER)
    assert "snip" in selectable_sensitivities("torchvision:resnet18", OFFER)  # meant for fresh weights
    assert "trained" not in selectable_sensitivities("net.py:build", OFFER)  # the page has no runs
    assert Choices(model="net.py:build", sensitivity="magnitude").own_weights
    assert not Choices(model="net.py:build").own_weights


def test_dense_is_no_choice() -> None:
    assert "dense" not in selectable_patterns()
    assert {"channel", "group", "width", "block", "n:m", "unstructured"} <= set(selectable_patterns())


def test_problems_are_told_at_once() -> None:
    assert input_problem("") == input_problem("1x3x32x32") == ""
    assert "no shape" in input_problem("1x3x-2")
    assert budget_problem("macs", "", None) == budget_problem("macs", "40%", None) == ""
    assert budget_problem("macs", "4 apples", None)
    assert "profile" in budget_problem("latency", "5ms", None)
    assert "profile" in cost_needs("training_latency", load_profile("energy-45nm"))
    assert cost_needs("energy", load_profile("energy-45nm")) == ""
    bad = Choices(model="zoo:digits_cnn", input_text="x", patterns=(), budgets={"macs": "no"})
    assert len(problems(bad, None)) == 3
    assert "no budget" in problems(Choices(model="zoo:digits_cnn"), None)[0]


def test_equal_choices_ask_the_same_question() -> None:
    one = Choices(model="zoo:digits_cnn", budgets={"macs": "50%", "params": "1M"})
    other = Choices(model="zoo:digits_cnn", budgets={"params": "1M", "macs": "50%"})
    assert hash(one.question) == hash(other.question)
    assert one.question == other.question
    assert one.question != Choices(model="zoo:digits_cnn", budgets={"macs": "50%"}).question


def test_what_looks_at_data_needs_its_name_and_remembers_it() -> None:
    asked = Choices(model="zoo:digits_cnn", budgets={"macs": "50%"}, sensitivity="snip")
    assert problems(asked, None) == ("sensitivity snip looks at labelled images: choose its data",)
    named = replace(asked, data="cluttered")
    assert problems(named, None) == ()
    assert through_the_address(named) == (named, ())
    assert named.question != replace(named, data="digits").question
    idle = replace(named, sensitivity="erk")
    assert "data" not in to_query(idle)
    assert idle.question == replace(idle, data="digits").question  # nothing looks at it
    assert from_query({"data": ["nothing"]}, OFFER)[1] == ("data 'nothing' is unknown",)
