"""Width groups: who shares a factor, what a level keeps, and what a trial finds out."""

import numpy as np
import pytest
from torch import nn

from advisor.coupling import kept_channels_of
from advisor.coupling.keep import distinct_levels, kept_classes
from advisor.coupling.trial import tried
from advisor.errors import PatternError, PlanError
from advisor.trace import analyze
from tests.coupling.networks import build


def sides(network):
    coupling = network.coupling
    names = [group.name for group in coupling.groups]
    return {
        layer.name: tuple(None if g is None else names[g] for g in coupling.of(layer.name))
        for layer in network.sparsifiable
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("residual", {"a": (None, "a"), "b": ("a", "b"), "c": ("b", "a"), "head": ("a", "head")}),
        ("concat", {"a": (None, "a"), "b": (None, "a"), "c": ("a", "c")}),
        ("split", {"a": (None, "a"), "b": ("a", "a"), "c": ("a", "c")}),
        ("shared", {"a": (None, "a"), "b": ("a", "a"), "c": ("a", "c")}),
        ("grouped", {"a": (None, "a"), "b": ("a", "a"), "c": ("a", "c")}),
        ("depthwise", {"a": (None, "a"), "b": ("a", "a"), "c": ("a", "c")}),
        ("flatten", {"a": (None, "a"), "b": ("a", "b"), "c": ("b", "c")}),
        ("excite", {"a": (None, "a"), "down": ("a", "down"), "up": ("down", "a"), "c": ("a", "c")}),
        ("pixels", {"a": (None, "a"), "b": ("a", "b")}),
    ],
)
def test_who_shares_a_factor(name, expected):
    assert sides(build(name)) == expected


def test_a_group_says_who_reads_and_who_makes_it():
    group = build("residual").coupling.groups[0]
    assert (group.layers_in, group.layers_out, group.channels) == (("b", "head"), ("a", "c"), 16)


def test_segments_are_what_may_be_thinned_out_together():
    def sizes(name, group=0):
        return sorted(len(segment.channels) for segment in build(name).coupling.groups[group].segments)

    assert sizes("concat") == [12, 20]
    assert sizes("split") == [16, 16, 16]  # two halves of a, and b
    assert sizes("grouped") == [4] * 4 + [8] * 4  # each of four groups, before and after
    assert sizes("depthwise multiplier") == [16]  # an input channel and both that are made of it
    assert sizes("pixels") == [8]  # four channels of 32 are one channel after the shuffle


@pytest.mark.parametrize(
    ("rounding", "expected"), [("ceil", [64, 48, 20, 7, 1]), ("multiple8", [64, 48, 16, 8, 8])]
)  # fmt: skip
def test_both_rounding_rules(rounding, expected):
    assert [kept_channels_of(level, 64, rounding) for level in (1.0, 0.75, 0.3, 0.1, 0.01)] == expected


def test_rounding_at_the_edges():
    assert kept_channels_of(0.1, 30, "ceil") == 3  # 0.1 · 30 is a little more than 3 in floating point
    assert kept_channels_of(0.5, 6, "multiple8") == 6
    assert kept_channels_of(1.0, 20, "multiple8") == 20
    with pytest.raises(PatternError, match="outside"):
        kept_channels_of(0.0, 8)
    with pytest.raises(PatternError, match="did you mean 'ceil'"):
        kept_channels_of(0.5, 8, "ceiling")


def test_levels_that_keep_the_same_are_one():
    coupling = build("grouped").coupling
    assert distinct_levels(coupling, 0, (0.75, 0.5, 0.4, 0.3, 0.1), "ceil") == (1.0, 0.75, 0.5, 0.3, 0.1)
    assert distinct_levels(coupling, 0, (0.5, 0.1), "multiple8") == (1.0,)
    assert distinct_levels(coupling, 1, (0.5,), "ceil") == (1.0,)  # the network's output


def test_trials_freeze_numbers_written_into_the_code():
    before, after = build("reshape").coupling.groups[0], tried(build("reshape")).groups[0]
    assert not before.frozen
    assert "trial" in after.frozen
    assert "\n" not in after.frozen


def test_trials_find_channels_that_would_arrive_elsewhere():
    class Gate(nn.Module):
        """Channel 5 of eight scales the others; with fewer channels another one would, without any error."""

        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 16), nn.Linear(16, 2)

        def forward(self, x):
            x = self.a(x)
            return self.b(x * x[:, 5:6])

    network = analyze(Gate(), (2, 3))
    assert not network.coupling.groups[0].frozen
    assert "other channels" in tried(network).groups[0].frozen
    assert tried(network) is tried(network)


def test_trials_leave_sound_groups_alone():
    for name in ("residual", "shuffle", "tied", "transposed"):
        network = build(name)
        assert [g.frozen for g in tried(network).groups] == [g.frozen for g in network.coupling.groups]


def test_chosen_channels_must_agree():
    coupling = build("residual").coupling
    keep = {"a": np.arange(8), "c": np.arange(8)}
    assert kept_classes(coupling, {"a": 0.5}, keep=keep).sum() == len(coupling.group_of) - 8
    with pytest.raises(PlanError, match="contradict"):
        kept_classes(coupling, {"a": 0.5}, keep=keep | {"c": np.arange(1, 9)})
    with pytest.raises(PlanError, match="keeps 7 of 16"):
        kept_classes(coupling, {"a": 0.5}, keep={"a": np.arange(7)})
    with pytest.raises(PlanError, match="below 16"):
        kept_classes(coupling, {"a": 0.5}, keep={"a": np.array([16])})
    with pytest.raises(PlanError, match="network's output"):
        kept_classes(coupling, {"head": 0.5})
    with pytest.raises(PatternError, match="unknown width group"):
        kept_classes(coupling, {"nobody": 0.5})


def test_scores_decide_who_stays():
    coupling = build("concat").coupling
    scores = np.zeros(len(coupling.group_of))
    last = np.array(coupling.groups[0].segments[0].channels)[-6:]
    scores[last] = 1.0
    assert kept_classes(coupling, {"a": 0.5}, scores=scores)[last].all()
