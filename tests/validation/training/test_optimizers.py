"""Both ways of shrinking weights, under every optimiser, against the rules themselves."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from advisor.errors import AdvisorError
from validation.training.optimizers import make_optimizer


@pytest.mark.parametrize("name", ["adam", "sgd", "rmsprop"])
def test_decay_beside_the_gradient_follows_the_rate(name: str) -> None:
    plain, decayed = (nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64)) for _ in range(2))
    one = make_optimizer(name, [plain], 0.1)
    other = make_optimizer(name, [decayed], 0.1, weight_decay=0.5)
    for parameter in (plain, decayed):
        parameter.grad = torch.tensor([0.3, 0.1], dtype=torch.float64)
    one.step()
    other.step()
    moved = plain.detach() - torch.tensor([1.0, -2.0], dtype=torch.float64)
    assert torch.allclose(decayed, torch.tensor([0.95, -1.9], dtype=torch.float64) + moved, atol=1e-12)


def test_adamw_is_torchs() -> None:
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 5, dtype=torch.float64)) for _ in range(2))
    one = make_optimizer("adamw", [ours], 1e-2, weight_decay=0.1)
    other = torch.optim.AdamW([theirs], lr=1e-2, weight_decay=0.1)
    for step in range(20):
        for parameter in (ours, theirs):
            parameter.grad = torch.cos(parameter.detach() * (step + 1))
        one.step()
        other.step()
    assert torch.allclose(ours, theirs, rtol=1e-12)


def test_l2_joins_the_gradient() -> None:
    weight = nn.Parameter(torch.tensor([2.0]))
    optimizer = make_optimizer("sgd", [weight], 0.1, momentum=0.0, l2=0.5)
    weight.grad = torch.tensor([1.0])
    optimizer.step()
    assert weight.item() == pytest.approx(2 - 0.1 * (1 + 0.5 * 2))


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(AdvisorError, match=r"adamm.*adam"):
        make_optimizer("adamm", [], 0.1)
