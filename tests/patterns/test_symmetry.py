"""Hidden channels in another order: the same function, and how many masks survive it (Changpinyo et al. 2017, 4)."""

import copy
from itertools import permutations
from math import factorial

import numpy as np
import pytest
import torch
from torch import nn

from advisor.patterns.base import pattern
from advisor.patterns.option import DENSE, Option
from tests.patterns.layers import layer

HIDDEN = 5


def net() -> nn.Sequential:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(6, HIDDEN, 3), nn.BatchNorm2d(HIDDEN), nn.ReLU(), nn.Conv2d(HIDDEN, 4, 3)).double()
    nn.init.normal_(made[1].weight)
    nn.init.normal_(made[1].bias)
    made[1].running_mean.normal_()
    made[1].running_var.uniform_(0.5, 2)
    return made.eval()


def permuted(module: nn.Sequential, order: tuple[int, ...]) -> nn.Sequential:
    """The hidden channels in another order: weights, bias and norm on one side, the inputs on the other."""
    twin, index = copy.deepcopy(module), list(order)
    with torch.no_grad():
        for tensor in (twin[0].weight, twin[0].bias, *twin[1].parameters(), *(b for b in twin[1].buffers() if b.ndim)):
            tensor.copy_(tensor[index].clone())
        twin[3].weight.copy_(twin[3].weight[:, index].clone())
    return twin


@pytest.mark.parametrize("order", [(1, 0, 2, 3, 4), (4, 3, 2, 1, 0), (2, 4, 1, 0, 3)])
def test_permuted_hidden_channels_compute_the_same(order):
    dense, x = net(), torch.randn(2, 6, 8, 8, dtype=torch.float64)
    twin = permuted(dense, order)
    assert not torch.equal(twin[0].weight, dense[0].weight)
    torch.testing.assert_close(twin(x), dense(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("option", "fewest", "most"), [(DENSE, 120, 120), (Option(pattern="channel", density=0.5), 1, 6)]
)
def test_a_sparse_pattern_breaks_most_symmetries(option, fewest, most):
    """All n! orders of the hidden channels leave a dense mask as it was; few leave a drawn one."""
    before, after = layer("conv2d", HIDDEN, 6), layer("conv2d", 4, HIDDEN)
    kind = pattern(option.pattern)
    for seed in range(5):
        rows, columns = kind.connections(before, option, seed=seed), kind.connections(after, option, seed=seed + 100)
        orders = [list(order) for order in permutations(range(HIDDEN))]
        same = sum(np.array_equal(rows[o], rows) and np.array_equal(columns[:, o], columns) for o in orders)
        assert fewest <= same <= most
    assert len(orders) == factorial(HIDDEN)
