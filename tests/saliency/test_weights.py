"""Scores from weights: squares, and LAMP by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import advisor
from advisor.errors import PatternError, PlanError
from advisor.examples import Given
from advisor.saliency import scores_of
from advisor.saliency.weights import lamp_scores


def test_lamp_of_the_published_example() -> None:
    # Sorted by magnitude: 0.0119, 0.1084, 0.3378, 1.
    found = lamp_scores(np.array([0.5, -0.1, 0.3, -0.7]))
    assert found == pytest.approx([0.25 / 0.74, 0.01 / 0.84, 0.09 / 0.83, 1.0])
    assert np.sort(found) == pytest.approx([0.0119, 0.1084, 0.3378, 1.0], abs=5e-5)


def test_lamp_keeps_shape_and_order_and_scores_zeros_zero() -> None:
    weight = np.random.default_rng(0).normal(size=(4, 3, 2))
    found = lamp_scores(weight)
    assert found.shape == weight.shape
    assert (np.argsort(found, axis=None) == np.argsort(np.abs(weight), axis=None)).all()
    assert lamp_scores(np.zeros((2, 2))).tolist() == [[0, 0], [0, 0]]
    assert lamp_scores(np.array([0.0, 3.0])).tolist() == [0, 1]
    # Of equal weights the last one is the largest.
    assert lamp_scores(np.array([2.0, 2.0])).tolist() == [0.5, 1]


def test_nan_and_missing_weights_are_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    network = advisor.analyze(model, (1, 4))
    with torch.no_grad():
        network.module[1].weight[0, 0] = float("nan")  # type: ignore[index]
    for name in ("magnitude", "lamp"):
        with pytest.raises(PatternError, match="layer 1: its weight holds NaN"):
            scores_of(network, name, Given())
    with torch.device("meta"):
        empty = advisor.analyze(nn.Sequential(nn.Linear(4, 2)), (1, 4))
    with pytest.raises(PlanError, match="built without memory"):
        scores_of(empty, "synflow", Given())
