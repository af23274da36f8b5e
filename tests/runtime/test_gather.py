"""Gathered layers against the masked dense reference: values, both gradients, saving, and every geometry."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from advisor.errors import PlanError
from advisor.runtime.gather import GroupConv, can_replace, gathered, kernel_of

CASES: dict[str, tuple[type[nn.Module], dict[str, Any], tuple[int, ...], int, int]] = {
    # layer, its arguments, input, blocks, kept
    "3x3": (nn.Conv2d, {"in_channels": 8, "out_channels": 12, "kernel_size": 3, "padding": 1}, (2, 8, 7, 7), 3, 2),
    "1x1": (nn.Conv2d, {"in_channels": 8, "out_channels": 12, "kernel_size": 1}, (2, 8, 7, 7), 3, 2),
    "1x1 one image": (nn.Conv2d, {"in_channels": 8, "out_channels": 12, "kernel_size": 1}, (1, 8, 5, 7), 3, 8),
    "1x1 stride, no bias": (
        nn.Conv2d,
        {"in_channels": 8, "out_channels": 12, "kernel_size": 1, "stride": (2, 3), "bias": False},
        (2, 8, 7, 8),
        3,
        5,
    ),
    "1x1 padded": (
        nn.Conv2d,
        {"in_channels": 4, "out_channels": 4, "kernel_size": 1, "padding": 1},
        (2, 4, 5, 5),
        2,
        3,
    ),
    "stride, dilation": (
        nn.Conv2d,
        {"in_channels": 6, "out_channels": 8, "kernel_size": 3, "stride": 2, "dilation": 2, "padding": (2, 1)},
        (2, 6, 11, 12),
        4,
        3,
    ),
    "groups": (
        nn.Conv2d,
        {"in_channels": 12, "out_channels": 16, "kernel_size": 3, "groups": 2, "bias": False},
        (2, 12, 6, 6),
        4,
        3,
    ),
    "groups 1x1": (
        nn.Conv2d,
        {"in_channels": 12, "out_channels": 16, "kernel_size": 1, "groups": 2},
        (3, 12, 6, 6),
        4,
        2,
    ),
    "same": (
        nn.Conv2d,
        {"in_channels": 4, "out_channels": 4, "kernel_size": 5, "dilation": 2, "padding": "same"},
        (2, 4, 6, 6),
        2,
        2,
    ),
    "circular": (
        nn.Conv2d,
        {"in_channels": 4, "out_channels": 4, "kernel_size": 3, "padding": 1, "padding_mode": "circular"},
        (2, 4, 6, 6),
        2,
        2,
    ),
    "unbatched": (nn.Conv2d, {"in_channels": 4, "out_channels": 4, "kernel_size": 3}, (4, 6, 6), 2, 2),
    "1d": (nn.Conv1d, {"in_channels": 8, "out_channels": 6, "kernel_size": 5, "stride": 2}, (2, 8, 13), 3, 3),
    "1d 1": (nn.Conv1d, {"in_channels": 8, "out_channels": 6, "kernel_size": 1, "stride": 2}, (2, 8, 13), 3, 3),
    "3d": (nn.Conv3d, {"in_channels": 4, "out_channels": 6, "kernel_size": (1, 3, 2)}, (2, 4, 3, 5, 5), 3, 2),
    "linear": (nn.Linear, {"in_features": 10, "out_features": 12}, (5, 10), 4, 3),
    "linear one row": (nn.Linear, {"in_features": 10, "out_features": 12, "bias": False}, (1, 10), 4, 3),
    "linear tokens": (nn.Linear, {"in_features": 10, "out_features": 12}, (2, 7, 10), 2, 9),
    "linear vector": (nn.Linear, {"in_features": 10, "out_features": 12}, (10,), 2, 9),
}


def choice(inputs: int, blocks: int, kept: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(blocks, inputs, generator=generator).argsort(1)[:, :kept].sort(1).values


def mask_of(weight: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    grid = torch.zeros(weight.shape[:2], dtype=torch.bool)
    block = weight.shape[0] // len(index)
    for number, row in enumerate(index):
        for output in range(number * block, (number + 1) * block):
            grid[output, row] = True
    return grid.view(*grid.shape, *(1,) * (weight.dim() - 2)).expand(weight.shape)


@pytest.mark.parametrize("case", CASES)
def test_equals_masked_dense_in_float64(case: str) -> None:
    kind, arguments, shape, blocks, kept = CASES[case]
    torch.manual_seed(0)
    dense = kind(**arguments).double()
    index = choice(dense.weight.shape[1], blocks, kept)
    sparse = gathered(copy.deepcopy(dense), index)
    mask = mask_of(dense.weight, index)
    with torch.no_grad():
        dense.weight *= mask
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    z = x.detach().clone().requires_grad_()
    y, w = dense(x), sparse(z)
    assert w.shape == y.shape
    torch.testing.assert_close(w, y, rtol=0, atol=1e-10)
    weights = torch.randn_like(y)
    (y * weights).sum().backward()
    (w * weights).sum().backward()
    torch.testing.assert_close(z.grad, x.grad, rtol=0, atol=1e-10)
    places = sparse._within(sparse.chosen()).view(-1, kept, *(1,) * (mask.dim() - 2)).expand(-1, -1, *mask.shape[2:])
    torch.testing.assert_close(sparse.weight.grad, dense.weight.grad.gather(1, places), rtol=0, atol=1e-10)
    if dense.bias is not None:
        torch.testing.assert_close(sparse.bias.grad, dense.bias.grad, rtol=0, atol=1e-10)
    assert sparse.weight.numel() == int(mask.sum()), "only kept weights are stored"
    torch.testing.assert_close(sparse.dense_weight(), dense.weight.detach())
    torch.testing.assert_close(sparse.to_dense()(x), y, rtol=0, atol=1e-12)


def test_both_implementations_are_covered() -> None:
    assert kernel_of(1, 0) == "product"
    assert kernel_of(9, 1) == kernel_of(1, 1) == "grouped"
    used = set()
    for kind, arguments, _, blocks, kept in CASES.values():
        if kind is not nn.Linear:
            dense = kind(**arguments)
            used.add(gathered(dense, choice(dense.weight.shape[1], blocks, kept)).kernel)
    assert used == {"product", "grouped"}


def small(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.Flatten(), nn.Linear(8 * 16, 4))
    for place, blocks in ((0, 2), (2, 4), (4, 2)):
        net[place] = gathered(net[place], choice(net[place].weight.shape[1], blocks, 2))
    return net


def test_trains_and_saves(tmp_path: Path) -> None:
    net, x, y = small(0), torch.randn(16, 4, 6, 6), torch.arange(16) % 4
    optimiser = torch.optim.SGD(net.parameters(), lr=0.2, momentum=0.9, weight_decay=1e-3)
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    torch.save(net.state_dict(), tmp_path / "net.pt")
    other = small(1)
    other.load_state_dict(torch.load(tmp_path / "net.pt", weights_only=True))
    torch.testing.assert_close(other(x), net(x))
    torch.testing.assert_close(copy.deepcopy(net)(x), net(x))


def test_loads_a_dense_checkpoint_also_through_meta() -> None:
    torch.manual_seed(5)
    dense = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.Flatten(), nn.Linear(8 * 16, 4))
    wanted, away = small(0), small(0).to("meta")
    wanted.load_state_dict(dense.state_dict())
    for place in (0, 2, 4):
        index = wanted[place].chosen().view(wanted[place].blocks, -1)
        torch.testing.assert_close(
            wanted[place].dense_weight(), (dense[place].weight * mask_of(dense[place].weight, index)).detach()
        )
    away.load_state_dict(dense.state_dict(), assign=True)
    x = torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(away(x), wanted(x))


def test_refuses_weights_of_other_inputs() -> None:
    net, other = small(0), small(0)
    other[2] = gathered(nn.Conv2d(8, 8, 1), choice(8, 4, 2).flip(0))
    with pytest.raises(RuntimeError, match=r"2.weight: reads other inputs"):
        other.load_state_dict(net.state_dict())


@pytest.mark.gpu
def test_on_cuda() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    net, x = small(0), torch.randn(3, 4, 6, 6)
    torch.testing.assert_close(copy.deepcopy(net).cuda()(x.cuda()).cpu(), net(x), rtol=1e-3, atol=1e-3)


def test_hooks_and_mode_go_along() -> None:
    seen: list[tuple[int, ...]] = []
    dense = nn.Conv2d(4, 4, 3).eval()
    dense.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape)))
    sparse = gathered(dense, choice(4, 2, 2))
    assert not sparse.training
    sparse(torch.zeros(1, 4, 5, 5))
    assert seen == [(1, 4, 3, 3)]


def test_a_layer_with_its_own_forward_is_no_plain_layer() -> None:
    class Padded(nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(nn.functional.pad(x, (1, 1, 1, 1)))

    assert can_replace(nn.Conv2d(1, 1, 1))
    assert not can_replace(Padded(1, 1, 1))
    assert not can_replace(nn.ConvTranspose2d(1, 1, 1))


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(PlanError, match="3 blocks do not divide 8 outputs"):
        gathered(nn.Conv2d(4, 8, 1), choice(4, 3, 2))
    with pytest.raises(PlanError, match="outside the 4 inputs"):
        GroupConv(nn.Conv2d(4, 8, 1), choice(4, 2, 2) + 3)
    with pytest.raises(PlanError, match="no gathering form"):
        gathered(nn.ConvTranspose2d(4, 8, 1), choice(4, 2, 2))
