"""Groups by hand: which weights, how many, and what their norms are."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from advisor.errors import AdvisorError
from advisor.models import load_model
from validation.methods.group_lasso.groups import GroupedWeight, grouped_weights, measured


def totals(name: str) -> tuple[int, int]:
    """(weights, groups) of what is regularised."""
    found = grouped_weights(load_model(f"zoo:{name}").module)
    return sum(one.parameter.numel() for one in found), sum(one.count for one in found)


def test_lenet_has_1370_groups() -> None:
    found = grouped_weights(load_model("zoo:lenet5").module)
    assert [one.count for one in found] == [20, 50, 800, 500]  # filters, filters, input neurons, input neurons
    assert [one.size for one in found] == [25, 500, 500, 10]
    assert sum(one.count for one in found) == 1_370


@pytest.mark.parametrize(
    ("name", "weights", "filters"), [("wrn_28_10", 16_842_240, 4_480), ("wrn_16_8", 4_589_568, 1_792)]
)
def test_wide_networks_are_regularised_in_each_blocks_first_convolution(name: str, weights: int, filters: int) -> None:
    assert totals(name) == (weights, filters)


def test_norms_of_filters_and_input_neurons() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 5, 2), nn.Conv2d(5, 10, 3, groups=5), nn.Linear(6, 7)
    ).double()
    first, up, grouped, linear = grouped_weights(module)
    for one, slices in (
        (first, [first.parameter[c] for c in range(4)]),
        (up, [up.parameter[:, c] for c in range(5)]),
        (grouped, [grouped.parameter[c] for c in range(10)]),
        (linear, [linear.parameter[:, c] for c in range(6)]),
    ):
        assert one.count == len(slices)
        assert {piece.numel() for piece in slices} == {one.size}
        assert torch.allclose(one.norms(one.parameter), torch.stack([piece.norm() for piece in slices]), rtol=1e-14)
        expected = math.sqrt(one.size) * sum(float(piece.detach().norm()) for piece in slices)
        assert float(one.lasso(one.parameter.detach())) == pytest.approx(expected, rel=1e-13)


def test_a_group_of_zeros_has_a_slope_of_zero() -> None:
    one = GroupedWeight(name="x", parameter=nn.Parameter(torch.zeros(2, 3)), axis=1)
    one.lasso(one.parameter).backward()
    assert one.parameter.grad is not None
    assert not one.parameter.grad.any()


def test_layers_by_name_and_tied_ones_once() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(4, 4), nn.Linear(4, 4))
    module[3].weight = module[2].weight
    assert [one.name for one in grouped_weights(module)] == ["0", "2"]
    assert [one.name for one in grouped_weights(module, "2|0")] == ["0", "2"]
    assert [one.name for one in grouped_weights(module, "[23]")] == ["2"]


@pytest.mark.parametrize(("module", "layers"), [(nn.Sequential(nn.Linear(2, 2)), "1|0"), (nn.ReLU(), "auto")])
def test_layers_that_are_not_there(module: nn.Module, layers: str) -> None:
    with pytest.raises(AdvisorError, match=r"fits no convolution and no linear layer; there are: (0|none)"):
        grouped_weights(module, layers)


def test_what_counts_as_alive() -> None:
    conv, linear = nn.Conv2d(1, 3, 2, bias=False), nn.Linear(2, 4, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([2e-4, 3e-4, 5e-6]).view(3, 1, 1, 1).expand(3, 1, 2, 2))
        linear.weight.copy_(torch.tensor([[9e-6, 4.1e-5]] + [[9e-6, 0.0]] * 3))
    found = measured(grouped_weights(nn.Sequential(conv, linear)))
    # Filters: sums of 8e-4, 1.2e-3 and 2e-5, means of 2e-4, 3e-4 and 5e-6; neurons: means of 9e-6 and 1.025e-5.
    assert (found.filters, found.alive_filters) == (3, 1)
    assert (found.groups, found.alive) == (5, 3)
    assert found.density == (8 + 1) / 20
