"""Densities from the literature notes, section 1.8, out of the code."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st

import advisor
from advisor.errors import BudgetError
from advisor.network import Network
from advisor.planning.allocation import erk, erk_scores, fill, uniform


@pytest.fixture(scope="module")
def resnet50() -> Network:
    import torch

    with torch.device("meta"):
        model = torchvision.models.resnet50(weights=None)
    return advisor.analyze(model, (1, 3, 224, 224))


def shapes(network: Network) -> list[tuple[int, ...]]:
    return [layer.weight_shape for layer in network.sparsifiable]


def flop_ratio(network: Network, densities: np.ndarray) -> float:
    macs = np.array([layer.macs for layer in network.sparsifiable])
    return float((macs * densities).sum() / macs.sum())


def test_resnet50_weights(resnet50: Network) -> None:
    assert sum(prod(shape) for shape in shapes(resnet50)) == 25_502_912


def test_erk_densities_at_90_percent(resnet50: Network) -> None:
    names = [layer.name for layer in resnet50.sparsifiable]
    found = dict(zip(names, erk(shapes(resnet50), 0.1), strict=True))
    expected = {"conv1": 0.4200, "layer1.0.conv2": 0.1773, "layer4.2.conv2": 0.0213, "fc": 0.0726}
    assert {name: round(found[name], 4) for name in expected} == expected
    assert [name for name in names if found[name] == 1] == ["layer1.0.conv1"]


def test_layers_that_erk_leaves_dense(resnet50: Network) -> None:
    names = [layer.name for layer in resnet50.sparsifiable]
    dense = {s: [n for n, d in zip(names, erk(shapes(resnet50), 1 - s), strict=True) if d == 1] for s in (0.8, 0.95)}
    assert len(dense[0.8]) == 8
    assert "layer2.0.conv1" in dense[0.8]
    assert sum(name.startswith("layer1") for name in dense[0.8]) == 7
    assert dense[0.95] == []


@pytest.mark.parametrize(
    ("removed", "erk_ratio", "uniform_ratio"),
    [(0.8, 0.4138, 0.2231), (0.9, 0.2418, 0.1260), (0.95, 0.1217, 0.0774), (0.965, 0.0852, 0.0628)],
)
def test_flop_ratios(resnet50: Network, removed: float, erk_ratio: float, uniform_ratio: float) -> None:
    assert round(flop_ratio(resnet50, erk(shapes(resnet50), 1 - removed)), 4) == erk_ratio
    stem = 0
    assert round(flop_ratio(resnet50, uniform(shapes(resnet50), 1 - removed, dense=[stem])), 4) == uniform_ratio


def test_erk_at_99_percent_with_a_dense_stem(resnet50: Network) -> None:
    assert round(flop_ratio(resnet50, erk(shapes(resnet50), 0.01, dense=[0])), 4) == 0.0520


positive = st.lists(st.tuples(st.integers(1, 500), st.integers(1, 500)), min_size=1, max_size=8)


@settings(max_examples=100, deadline=None)
@given(pairs=positive, density=st.floats(0.001, 1.0))
def test_fill_keeps_the_share_and_is_the_best(pairs: list[tuple[int, int]], density: float) -> None:
    s, n = np.array(pairs, dtype=float).T
    found = fill(s, n, density)
    assert np.all((found > 0) & (found <= 1))
    assert (n * found).sum() == pytest.approx(density * n.sum())
    # Optimality of min Σ s(−ln d) s.t. Σ n d ≤ B, d ≤ 1: s/(n d) is the same where d < 1, and larger where d = 1.
    price = s / (n * found)
    free = found < 1
    if free.any():
        assert np.ptp(price[free]) <= 1e-9 * price[free].max()
        assert np.all(price[~free] >= price[free].max() * (1 - 1e-9))


def test_uniform_is_fill_with_scores_equal_to_weights() -> None:
    assert uniform([(4, 3, 3, 3), (8, 4)], 0.3) == pytest.approx([0.3, 0.3])


def test_dense_layers_are_left_out_of_the_balance() -> None:
    found = uniform([(4, 4), (8, 8)], 0.25, dense=[0])
    assert found == pytest.approx([1.0, 0.25])
    assert erk([(4, 4)], 0.25, dense=[0]) == pytest.approx([1.0])


def test_scores_are_the_sum_of_the_sizes() -> None:
    assert erk_scores([(64, 32, 3, 3), (10, 20)]).tolist() == [102.0, 30.0]


@pytest.mark.parametrize("density", [0.0, -0.1, 1.1, float("nan")])
def test_densities_outside_are_refused(density: float) -> None:
    with pytest.raises(BudgetError, match="expected more than 0 and at most 1"):
        erk([(4, 4)], density)
