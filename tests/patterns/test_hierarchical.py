"""What hierarchical attention costs, in closed form and against published stages."""

from __future__ import annotations

import pytest

from advisor.errors import PatternError
from advisor.patterns import hierarchical
from advisor.patterns.hierarchical import AttentionShape
from advisor.patterns.option import DENSE

# Stages of HAT-Net Small at 224: side, channels, window, pool; M multiply-adds of plain attention, of the hierarchical
# one, both with their projections, and the latter's and the former's attention products alone.
STAGES = [
    (56, 64, 8, 8, 1310.2, 110.0, 45.4, 1258.8),
    (28, 128, 7, 4, 208.7, 85.5, 19.7, 157.4),
    (14, 320, 7, 2, 104.9, 122.7, 12.3, 24.6),
]


def square(side: int, channels: int, *, prefix: int = 0, images: int = 1) -> AttentionShape:
    return AttentionShape(channels=channels, heads=4, height=side, width=side, prefix=prefix, images=images)


@pytest.mark.parametrize(("side", "channels", "window", "pool", "plain", "whole", "products", "dense"), STAGES)
def test_published_stages(
    side: int, channels: int, window: int, pool: int, plain: float, whole: float, products: float, dense: float
) -> None:
    shape = square(side, channels)
    option = hierarchical.hierarchical(shape, window, pool)
    kept = 4 * shape.tokens * channels**2  # q, k, v and the output projection, which both have
    assert shape.plain_macs / 1e6 == pytest.approx(dense, abs=0.05)
    assert (shape.plain_macs + kept) / 1e6 == pytest.approx(plain, abs=0.06)
    assert hierarchical.products_macs(shape, option.parameters) / 1e6 == pytest.approx(products, abs=0.05)
    assert (hierarchical.macs(shape, option) + kept) / 1e6 == pytest.approx(whole, abs=0.06)
    # NC(4C + 2G²) + 2(N/D²)C(C + N), and the output projection's NC²
    tokens, means = side**2, side**2 // pool**2
    formula = tokens * channels * (4 * channels + 2 * window**2) + 2 * means * channels * (channels + tokens)
    assert hierarchical.macs(shape, option) + kept == formula + tokens * channels**2


def test_density_is_the_share_of_pairs() -> None:
    shape = square(14, 320)
    assert hierarchical.hierarchical(shape, 7, 2).density == (49 + 49) / 196
    assert hierarchical.pairs(square(6, 8), {"window": 4, "pool": 4}) == (4 * 16**2, 36 * 4)  # padded to 8x8 and to 2x2


def test_prefix_tokens_join_the_global_step_alone() -> None:
    plain, more = square(8, 16), square(8, 16, prefix=2)
    parameters = {"window": 4, "pool": 4}
    assert hierarchical.pairs(plain, parameters) == (4 * 256, 64 * 4)
    assert hierarchical.pairs(more, parameters) == (4 * 256, 66 * 6)
    assert hierarchical.projections_macs(more, parameters) == (66 + 2 * 6) * 256


def test_costs_are_of_all_images_and_parameters_of_one() -> None:
    one, many = square(14, 32), square(14, 32, images=3)
    option = hierarchical.hierarchical(one, 7, 2)
    assert hierarchical.macs(many, option) == 3 * hierarchical.macs(one, option)
    assert hierarchical.added_params(many, option) == hierarchical.added_params(one, option) == 3 * 32**2 + 7 * 32
    assert hierarchical.added_params(one, DENSE) == 0
    assert hierarchical.macs(many, DENSE) == many.plain_macs


def test_it_is_not_offered_where_it_costs_more() -> None:
    # The published third stage: 42.4 M of new projections and products against 24.6 M.
    third = square(14, 320)
    published = hierarchical.hierarchical(third, 7, 2)
    assert hierarchical.macs(third, published) > third.plain_macs
    assert published not in hierarchical.options(third)
    # At 768 channels no window and pool is cheaper: q alone takes N C², plain attention 2 N² C, and C > 2 N.
    assert hierarchical.options(square(14, 768)) == ()
    why = hierarchical.why_none(square(14, 768))
    assert why.startswith("at 196 tokens it costs more than it saves: ")
    assert "M of them in new projections, against 59.01 M of plain attention" in why
    offered = hierarchical.options(square(56, 64))
    assert hierarchical.hierarchical(square(56, 64), 8, 8) in offered
    assert hierarchical.why_none(square(56, 64)) == ""
    for option in offered:
        assert not hierarchical.problem(square(56, 64), option.parameters)
        assert hierarchical.macs(square(56, 64), option) < square(56, 64).plain_macs
    densities = [option.density for option in offered]
    assert densities == sorted(densities, reverse=True)


@pytest.mark.parametrize(
    ("window", "pool", "text"),
    [
        (1, 2, "window=1 is plain attention"),
        (14, 2, "the window holds all 14x14 tokens"),
        (13, 1, "computes as many pairs of tokens as plain attention of 196 tokens"),
        (0, 2, "parameter window=0 is not a positive integer"),
        (7, True, "parameter pool=True is not a positive integer"),
    ],
)
def test_what_is_not_legal(window: int, pool: int, text: str) -> None:
    with pytest.raises(PatternError, match=text):
        hierarchical.hierarchical(square(14, 8), window, pool)


def test_other_parameters_are_named() -> None:
    assert "expected pool, window" in hierarchical.problem(square(14, 8), {"window": 7})


def test_small_maps_say_that_they_are_small() -> None:
    assert hierarchical.why_none(square(4, 8)) == "4x4 tokens are too few for windows of 4, 7, 8, 14"
