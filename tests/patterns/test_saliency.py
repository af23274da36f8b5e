"""Scores from weights, and the share that a choice loses."""

import numpy as np
import pytest

from advisor.errors import PatternError
from advisor.patterns.base import pattern
from advisor.patterns.option import DENSE, Option
from advisor.patterns.saliency import magnitude_loss, unit_scores
from tests.patterns.layers import layer, width

WEIGHT = np.array([[4.0, 1.0, 2.0, 0.0], [0.0, 3.0, 0.0, 1.0]])  # squares: 16 1 4 0 and 0 9 0 1, 31 in all


def small():
    return layer("linear", 2, 4)


@pytest.mark.parametrize(
    ("option", "kept"),
    [
        (DENSE, 31),
        (Option(pattern="channel", density=0.25), 16 + 9),
        (Option(pattern="channel", density=0.5), 20 + 10),
        (Option(pattern="group", density=0.25, parameters={"block": 2}), 16),
        (Option(pattern="group", density=0.5, parameters={"block": 2}), 16 + 10),
        (Option(pattern="n:m", density=0.5, parameters={"n": 1, "m": 2}), 16 + 4 + 9 + 1),
        (Option(pattern="unstructured", density=0.25), 16 + 9),
        (Option(pattern="unstructured", density=0.375), 16 + 9 + 4),
        (Option(pattern="block", density=0.5, parameters={"rows": 1, "columns": 2}), 17 + 9),
    ],
)
def test_the_loss_is_what_the_best_choice_removes(option, kept):
    assert magnitude_loss(small(), option, WEIGHT) == pytest.approx(1 - kept / 31)


def test_the_loss_of_width_is_that_of_the_best_rows_and_columns():
    assert magnitude_loss(small(), width(small(), 2, 1), WEIGHT) == pytest.approx(1 - 20 / 31)
    assert magnitude_loss(small(), width(small(), 4, 2), WEIGHT) == 0


def test_zeros_lose_nothing():
    assert magnitude_loss(small(), Option(pattern="channel", density=0.25), np.zeros((2, 4))) == 0


def test_scores_follow_the_outputs_of_a_transposed_convolution():
    one = layer("conv_transpose2d", 4, 6, (2, 2), groups=2)  # stored (6, 2, 2, 2)
    weight = np.zeros(one.weight_shape)
    weight[4, 1] = 3.0  # second group: its input 1, its output 1
    scores = unit_scores(one, Option(pattern="channel", density=0.5), weight)
    assert scores.shape == (4, 3)
    assert scores[3, 1] == 4 * 9.0
    assert scores.sum() == 4 * 9.0
    mask = pattern("channel").mask(one, Option(pattern="channel", density=0.3), scores=scores)
    assert mask[4, 1].all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(bad):
    weight = WEIGHT.copy()
    weight[1, 1] = bad
    with pytest.raises(PatternError, match="layer layer: its weight holds NaN or infinity"):
        unit_scores(small(), Option(pattern="channel", density=0.5), weight)


def test_a_weight_of_another_shape_is_refused():
    with pytest.raises(PatternError, match=r"weight has shape \(4, 2\), expected \(2, 4\)"):
        unit_scores(small(), Option(pattern="channel", density=0.5), WEIGHT.T)
