"""What all figures share."""

import pytest

from advisor.figures.reading import number
from advisor.figures.theme import PATTERN_COLOURS, base_layout, in_order, log_axis, pattern_colour
from advisor.figures.wording import axis_title, big, cost_text, cost_title, percent
from advisor.patterns.base import combined_names


def test_every_pattern_has_a_colour_of_its_own() -> None:
    assert len(set(PATTERN_COLOURS.values())) == len(PATTERN_COLOURS)
    assert pattern_colour("mine") not in PATTERN_COLOURS.values()
    together = {pattern_colour(name) for name in combined_names()}
    assert len(together) == len(combined_names())
    assert not together & set(PATTERN_COLOURS.values())
    assert pattern_colour("width+group") == "#738859"
    assert in_order(["mine", "group", "dense", "group"]) == ["dense", "group", "mine"]


def test_layouts_merge_without_touching_the_base() -> None:
    assert base_layout(height=100, xaxis={"title": {"text": "x"}})["xaxis"]["title"]["standoff"] == 10
    assert "text" not in base_layout(height=100)["xaxis"]["title"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (999, "999"), (1234, "1.23 k"), (999_600, "1.00 M"), (25_557_032, "25.6 M"),
        (4_089_184_256, "4.09 G"), (float("nan"), "–"), (0.25, "0.25"),
    ],
)  # fmt: skip
def test_big_numbers(value: float, text: str) -> None:
    assert big(value) == text


def test_costs_carry_their_units() -> None:
    assert cost_text("latency", 12.345) == "12.3 ms"
    assert cost_text("latency", 0.01234) == "0.0123 ms"
    assert cost_text("weight_memory", 102_228_128) == "102 MB"
    assert cost_text("peak_memory", 12) == "12 B"
    assert cost_text("energy", 3.0) == "3.00 mJ"
    assert axis_title("training_latency") == "Training step [ms]"
    assert cost_title("my_cost") == "My cost"
    assert percent(0.4567) == "45.7 %"


def test_log_ticks_are_at_one_two_and_five() -> None:
    axis = log_axis("macs", 1.5e6, 30e6)
    assert axis["tickvals"] == pytest.approx([2e6, 5e6, 1e7, 2e7])
    assert axis["ticktext"] == ["2 M", "5 M", "10 M", "20 M"]


def test_numbers_from_documents() -> None:
    held = {"a": 1, "b": None, "c": "1", "d": True, "e": float("inf")}
    assert [number(held, key) for key in "abcdef"] == [1.0, None, None, None, None, None]
    assert number(None, "a") is None
