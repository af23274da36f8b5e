"""Each proximal map against what it has to minimise, and against values worked out elsewhere."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.errors import AdvisorError
from validation.methods.group_lasso.penalties import (
    PENALTIES,
    Penalty,
    l0_prox,
    l1_l2_prox,
    l1_prox,
    make_penalty,
    scad,
    scad_prox,
    transformed_l1,
    transformed_l1_prox,
)

GRID = torch.arange(-40_000, 40_001, dtype=torch.float64) / 10_000  # zero itself is on it
SHAPES = [("l0", None), ("l1", None), ("transformed-l1", None), ("transformed-l1", 0.1), ("transformed-l1", 20.0)]
SHAPES += [("scad", None), ("scad", 2.5), ("l1-l2", None), ("l1-l2", 0.4)]


def number(value: float) -> torch.Tensor:
    return torch.tensor([value], dtype=torch.float64)


def cost(penalty: Penalty, x: torch.Tensor, v: torch.Tensor, scale: float) -> float:
    return float((x - v).square().sum() / 2 + penalty.value(v, scale))


@pytest.mark.parametrize(("name", "shape"), SHAPES)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(x=st.floats(-3.5, 3.5), scale=st.floats(1e-3, 2))
def test_prox_is_what_a_grid_finds(name: str, shape: float | None, x: float, scale: float) -> None:
    penalty = make_penalty(name, shape)
    each = (
        torch.func.vmap(lambda v: penalty.value(v[None], scale))
        if name != "l0"
        else lambda v: scale * (v != 0).double()
    )
    costs = (GRID - x) ** 2 / 2 + each(GRID)
    best = float(costs.min())
    found = penalty.prox(number(x), scale)
    assert cost(penalty, number(x), found, scale) <= best + 1e-12  # nothing on the grid is better
    # And it is at a minimiser, of which there may be two.
    as_good = GRID[costs <= best + 1e-7]
    assert float((as_good - found).abs().min()) <= 1.1e-4


@pytest.mark.parametrize(
    ("x", "scale", "a", "expected"),
    [
        (0.5, 0.04, 1.0, 0.462603),
        (0.3, 0.04, 1.0, 0.248693),
        (0.9, 0.3, 1.0, 0.689898),
        (0.6, 0.3, 1.0, 0.130662),
    ],
)
def test_transformed_l1_values(x: float, scale: float, a: float, expected: float) -> None:
    assert transformed_l1_prox(number(x), scale, a=a).item() == pytest.approx(expected, abs=1e-6)
    assert transformed_l1_prox(number(-x), scale, a=a).item() == pytest.approx(-expected, abs=1e-6)


def test_hard_threshold_of_the_published_settings() -> None:
    lam, beta = 0.1, 2.5
    x = torch.tensor([0.29, 0.28, -0.29, -0.28, 0.0])
    assert torch.equal(l0_prox(x, lam / beta), torch.tensor([0.29, 0.0, -0.29, 0.0, 0.0]))
    assert math.sqrt(2 * lam / beta) == pytest.approx(0.2828, abs=5e-5)


@pytest.mark.parametrize("name", PENALTIES)
def test_scaling_both_weights_leaves_the_threshold(name: str) -> None:
    torch.manual_seed(0)
    x, prox = torch.randn(200, dtype=torch.float64), make_penalty(name).prox
    for c in (0.25, 4.0, 64.0):
        assert torch.equal(prox(x, (c * 0.1) / (c * 0.4)), prox(x, 0.1 / 0.4))


def test_soft_threshold_and_scad_by_hand() -> None:
    x = torch.tensor([-3.0, -0.5, 0.2, 1.0, 1.9, 3.0, 3.8], dtype=torch.float64)
    assert torch.equal(l1_prox(x, 0.5), torch.tensor([-2.5, 0.0, 0.0, 0.5, 1.4, 2.5, 3.3], dtype=torch.float64))
    found = scad_prox(x, 1.0)
    between = (2.7 * 3.0 - 3.7) / 1.7
    assert found.tolist() == pytest.approx([-between, 0.0, 0.0, 0.0, 0.9, between, 3.8])
    assert float(scad(number(0.5), 1.0)) == 0.5
    assert float(scad(number(9.0), 1.0)) == pytest.approx(4.7 / 2)


def test_scad_meets_itself_where_its_pieces_join() -> None:
    for scale, edge in product((0.3, 1.0), (1.0, 3.7)):
        left, right = (float(scad(number(edge * scale + off), scale)) for off in (-1e-9, 1e-9))
        assert left == pytest.approx(right, abs=1e-8)
    for scale, edge in product((0.3, 1.0), (2.0, 3.7)):
        left, right = (float(scad_prox(number(edge * scale + off), scale)) for off in (-1e-9, 1e-9))
        assert left == pytest.approx(right, abs=1e-8)


def test_transformed_l1_lies_between_l0_and_l1() -> None:
    x = torch.linspace(-2, 2, 41, dtype=torch.float64)
    assert float(transformed_l1(x, 1.0, a=1e-9)) == pytest.approx(40, abs=1e-5)
    assert float(transformed_l1(x, 1.0, a=1e9)) == pytest.approx(float(x.abs().sum()), rel=1e-7)
    assert torch.allclose(transformed_l1_prox(x, 0.3, a=1e7), l1_prox(x, 0.3), atol=1e-6)


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_l1_l2_of_a_vector_is_what_a_grid_finds(alpha: float) -> None:
    penalty = make_penalty("l1-l2", alpha)
    line = torch.arange(-100, 101, dtype=torch.float64) / 50
    points = torch.cartesian_prod(line, line)
    for x in ((1.5, 0.4), (-1.5, 1.2), (0.6, -0.5), (0.2, 0.1), (0.8, 0.0)):
        for scale in (0.1, 0.5, 0.7, 1.0):
            given = torch.tensor(x, dtype=torch.float64)
            costs = (points - given).square().sum(1) / 2 + scale * (
                points.abs().sum(1) - alpha * points.square().sum(1).sqrt()
            )
            found = penalty.prox(given, scale)
            assert cost(penalty, given, found, scale) <= float(costs.min()) + 1e-12
            nearest = points[costs <= costs.min() + 4e-4]
            assert float((nearest - found).abs().amax(1).min()) <= 0.02


def test_l1_l2_keeps_one_element_where_none_exceeds_the_scale() -> None:
    x = torch.tensor([[0.2, -0.5], [0.4, 0.0]], dtype=torch.float64)
    found = l1_l2_prox(x, 0.6)
    assert found.tolist() == [[0.0, pytest.approx(-0.5)], [0.0, 0.0]]
    assert not l1_l2_prox(x, 0.6, alpha=0.1).any()
    soft = torch.tensor([[0.0, -0.2], [0.1, 0.0]], dtype=torch.float64)
    length = math.sqrt(0.05)
    assert torch.allclose(l1_l2_prox(x, 0.3), soft * (length + 0.3) / length, atol=1e-15)


@pytest.mark.parametrize("name", PENALTIES)
def test_zero_scale_changes_nothing(name: str) -> None:
    x = torch.tensor([[-1.5, 0.0, 1e-4], [0.7, 2.0, -3.0]], dtype=torch.float64)
    assert torch.allclose(make_penalty(name).prox(x, 0.0), x, atol=1e-15)
    assert float(make_penalty(name).value(x, 0.0)) == 0


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("l2", None, "unknown penalty 'l2'"),
        ("l0", 2.0, "no shape parameter"),
        ("scad", 2.0, "alpha=2, expected above 2 and finite"),
        ("l1-l2", 1.5, "alpha=1.5, expected above 0 up to 1"),
        ("transformed-l1", -1.0, "a=-1"),
        ("transformed-l1", math.nan, "a=nan"),
    ],
)
def test_penalties_that_are_none(name: str, shape: float | None, said: str) -> None:
    with pytest.raises(AdvisorError, match=said):
        make_penalty(name, shape)
