"""Plans that nobody searched for: the depth multiplier, and one density of drawn connections."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

import advisor
from advisor.coupling import kept_channels_of
from advisor.errors import PatternError
from advisor.planning.plain import depth_multiplier, random_connections
from tests.plans.test_apply import check

SHAPE = (2, 3, 8, 8)


class Chain(nn.Module):
    """Channels 3, 20, 33, 50 and ten classes, with a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 20, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(20)
        self.two = nn.Conv2d(20, 33, 3)
        self.three = nn.Conv2d(33, 50, 1)
        self.head = nn.Linear(50, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.three(self.two(self.norm(self.one(x)).relu()).relu()).relu().mean((2, 3)))
        return out


def chain() -> Chain:
    torch.manual_seed(0)
    return Chain().double()


@cache
def network() -> advisor.Network:
    return advisor.analyze(chain(), torch.zeros(SHAPE, dtype=torch.float64))


def up(alpha: float, n: int) -> int:
    return math.ceil(alpha * n)


def eights(alpha: float, n: int) -> int:
    return min(n, max(8, int(alpha * n) // 8 * 8))


@pytest.mark.parametrize("alpha", [0.3, 0.5, 0.05])
@pytest.mark.parametrize(("rounding", "rule"), [("ceil", up), ("multiple8", eights)])
def test_the_depth_multiplier_rounds_as_asked(rounding, rule, alpha):
    a, b, c = (rule(alpha, n) for n in (20, 33, 50))
    plan = depth_multiplier(network(), alpha, rounding=rounding)
    module = plan.apply(chain())
    shapes = [tuple(p.shape) for name, p in module.named_parameters() if name.endswith("weight") and p.ndim > 1]
    assert shapes == [(a, 3, 3, 3), (b, a, 3, 3), (c, b, 1, 1), (10, c)]
    weights = 27 * a + 9 * a * b + b * c + 10 * c
    assert plan.costs["params"].plan == sum(p.numel() for p in module.parameters()) == weights + 2 * a + b + c + 10
    macs = 27 * a * 128 + 9 * a * b * 72 + b * c * 72 + 10 * c * 2
    assert plan.costs["macs"].plan == macs
    assert (plan.rounding, plan.patterns) == (rounding, ("width",))


def test_random_connections_keep_exactly_what_the_formula_says():
    plan = random_connections(network(), 0.1, seed=4)
    masks = plan.masks()
    assert masks["one"].all()
    assert masks["head"].all()
    for name, inputs in (("two", 20), ("three", 33)):
        kept = masks[name].flatten(2)
        assert (kept == kept[..., :1]).all()  # one draw for all taps
        assert (kept[..., 0].sum(1) == math.ceil(0.1 * inputs)).all() or plan.layer(name).rewired
    check(plan, chain(), torch.randn(SHAPE, dtype=torch.float64))
    again, other = (random_connections(network(), 0.1, seed=seed) for seed in (4, 5))
    assert all(torch.equal(mask, again.masks()[name]) for name, mask in masks.items())
    assert not torch.equal(other.masks()["two"], masks["two"])


def test_random_connections_of_a_narrower_network():
    plan = random_connections(network(), 0.25, width=0.5)
    module = check(plan, chain(), torch.randn(SHAPE, dtype=torch.float64))
    weights = 27 * 10 + 17 * 3 * 9 + 25 * 5 + 10 * 25  # a quarter of 10 inputs is 3, of 17 inputs 5
    assert plan.costs["params"].plan == sum(p.numel() for p in module.parameters()) == weights + 2 * 10 + 17 + 25 + 10


def test_whole_networks_stay_dense():
    for plan in (depth_multiplier(network(), 1.0), random_connections(network(), 1.0)):
        assert {layer.pattern for layer in plan.layers} == {"dense"}
        assert plan.costs["macs"].plan == plan.costs["macs"].dense == network().macs
        assert plan.patterns == ("dense",)


def test_unstructured_connections():
    plan = random_connections(network(), 0.2, pattern="unstructured")
    assert plan.masks()["two"].sum() == math.ceil(0.2 * 20 * 33 * 9)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda n: random_connections(n, 0.0), "density 0.0"),
        (lambda n: random_connections(n, 1.5), "density 1.5"),
        (lambda n: random_connections(n, 0.5, pattern="group"), "'group'"),
        (lambda n: random_connections(n, 0.5, pattern="width"), "'width'"),
        (lambda n: random_connections(n, 0.5, pattern="chanel"), "did you mean 'channel'"),
        (lambda n: depth_multiplier(n, 0.0), "outside"),
        (lambda n: depth_multiplier(n, 1.5), "outside"),
        (lambda n: depth_multiplier(n, 0.5, rounding="floor"), "unknown rounding 'floor'"),
    ],
)
def test_what_makes_no_plan_is_refused(make, said):
    with pytest.raises(PatternError, match=said):
        make(network())


@pytest.mark.slow
def test_half_the_width_and_a_hundredth_of_the_connections():
    """Changpinyo, Sandler and Zhmoginov (2017), Table 1, first row: 43.0 M multiply-adds and 90 k parameters.

    The convolutions' weights and multiply-adds by the text's rules are 67,792 and 40.6 M.
    """
    import torchvision

    from advisor.patterns.base import pattern

    with torch.device("meta"):
        model = torchvision.models.inception_v3(init_weights=False)
    found = advisor.analyze(model, (1, 3, 299, 299))
    plan = random_connections(found, 0.01, width=0.5)
    layers = [(found.layer(one.name), one.option) for one in plan.layers if found.layer(one.name).is_conv]
    assert sum(pattern(option.pattern).kept_weights(layer, option) for layer, option in layers) == 67_792
    assert round(sum(pattern(option.pattern).macs(layer, option) for layer, option in layers) / 1e6, 1) == 40.6


def test_both_roundings_by_their_formulas():
    for n in (1, 7, 8, 9, 63, 64, 100):
        for alpha in (0.003, 0.05, 0.3, 0.5, 0.8, 1.0):
            assert kept_channels_of(alpha, n, "ceil") == max(1, math.ceil(np.round(alpha * n, 9)))
            floor = int(np.round(alpha * n, 9)) // 8 * 8
            assert kept_channels_of(alpha, n, "multiple8") == (n if alpha == 1 else min(n, max(8, floor)))
