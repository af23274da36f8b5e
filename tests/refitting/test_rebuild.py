"""`advisor.reconstruct`: kept weights that give what the dense layers gave."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

import advisor
from advisor.errors import DataError, PlanError
from advisor.examples.norms import measure_norms
from advisor.plans.plan import Plan
from advisor.refitting import reconstruct_plan


def trained_norms(model: nn.Module, inputs: Tensor) -> nn.Module:
    """Statistics as training leaves them."""
    model.train()
    with torch.no_grad():
        for _ in range(3):
            model(inputs)
    return model.eval()


def images(count: int = 32, channels: int = 4, size: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    # Channels that know of each other, so that those that stay can stand in for those that go.
    base = torch.randn(count, channels, size, size, generator=generator)
    mix = torch.randn(channels, channels, generator=generator)
    return torch.einsum("nchw,dc->ndhw", base, mix)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(4, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.grouped = nn.Conv2d(16, 16, 3, padding=1, groups=2)
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(self.grouped(x)) + x
        logits: Tensor = self.head(torch.relu(self.up(x)).mean((2, 3)))
        return logits


def made(patterns: Sequence[str] = ("channel",), share: str = "40%") -> tuple[nn.Module, Plan, Tensor]:
    torch.manual_seed(0)
    inputs = images()
    model = trained_norms(Net(), inputs)
    network = advisor.analyze(model, (2, 4, 8, 8))
    plan = advisor.plan(
        network, budgets={"params": share}, patterns=list(patterns), selection="magnitude", include_ends=True
    )
    return model, plan, inputs


@pytest.mark.parametrize("patterns", [("channel",), ("group",), ("unstructured",), ("width",)])
def test_outputs_come_closer_to_the_dense_networks(patterns: tuple[str, ...]) -> None:
    model, plan, inputs = made(patterns, "60%")
    before = copy.deepcopy(model.state_dict())
    found = reconstruct_plan(plan, model, (inputs, torch.zeros(len(inputs))))
    assert found.errors
    assert not found.skipped
    assert all(after <= first for first, after in found.errors.values())
    dense, plain = model(inputs), plan.apply(model).eval()
    measure_norms(plain, lambda: plain(inputs))
    errors = [float((module(inputs) - dense).detach().square().mean()) for module in (found.module, plain)]
    assert errors[0] < 0.7 * errors[1]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not model.training
    assert not found.module.training


def test_masks_are_the_plans_and_it_goes_on_as_any_applied_module() -> None:
    model, plan, inputs = made()
    module = advisor.reconstruct(plan, model, [(inputs, torch.zeros(len(inputs)))])
    fast = plan.apply(module, for_inference=True)  # refuses connections of another plan
    assert torch.allclose(fast(inputs), module(inputs), atol=1e-4)


def test_it_is_deterministic_and_leaves_the_random_state() -> None:
    model, plan, inputs = made()
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = advisor.reconstruct(plan, model, (inputs, torch.zeros(len(inputs))))
    assert torch.equal(state, torch.get_rng_state())
    second = advisor.reconstruct(plan, model, (inputs, torch.zeros(len(inputs))))
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_layers_with_a_forward_of_their_own_are_left_and_named() -> None:
    class Doubled(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return 2 * super().forward(input)

    torch.manual_seed(0)
    model = nn.Sequential(Doubled(8, 8), nn.ReLU(), nn.Linear(8, 4))
    plan = advisor.plan(
        advisor.analyze(model, (2, 8)), budgets={"params": "60%"}, patterns=["unstructured"], selection="magnitude",
        include_ends=True,
    )  # fmt: skip
    found = reconstruct_plan(plan, model, (torch.randn(32, 8), torch.zeros(32)))
    assert "Doubled has a forward of its own" in found.skipped["0"]
    assert "2" in found.errors


def test_mistakes_are_one_line() -> None:
    model, plan, inputs = made()
    data = (inputs, torch.zeros(len(inputs)))
    with pytest.raises(PlanError, match="ridge=0; expected more than 0"):
        advisor.reconstruct(plan, model, data, ridge=0)
    with pytest.raises(PlanError, match="never trained"):
        advisor.reconstruct(plan, Net(), data)
    with pytest.raises(PlanError, match="under a plan already"):
        advisor.reconstruct(plan, plan.apply(model), data)
    with pytest.raises(DataError, match="the network fails on the data"):
        advisor.reconstruct(plan, model, (torch.zeros(4, 3, 8, 8), torch.zeros(4)))
    with pytest.raises(PlanError, match=r"advisor\.reconstruct"):
        advisor.plan(advisor.analyze(model, (2, 4, 8, 8)), budgets={"params": "40%"}, selection="reconstruct")
