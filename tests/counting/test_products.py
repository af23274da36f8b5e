"""Closed forms: every operator that multiplies, in every way of tracing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advisor.counting.einsum import einsum_macs
from tests.counting.ways import WAYS, counted, macs_of, params_of


class Call(nn.Module):
    """A function without parameters, as a module."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.function(*tensors)


class First(nn.Module):
    """The first output of a module that returns several."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *tensors: Tensor) -> Tensor:
        result = self.inner(*tensors)
        return result[0] if isinstance(result, tuple) else result


def call(function: Callable[..., Tensor]) -> Callable[[], nn.Module]:
    return lambda: Call(function)


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[Any, ...], int]] = {
    # N · C_out · out · C_in/g · taps
    "conv1d": (lambda: nn.Conv1d(4, 6, 3), ((2, 4, 10),), 2 * 6 * 8 * 4 * 3),
    "conv2d": (lambda: nn.Conv2d(3, 8, (3, 5), stride=2, padding=(1, 2)), ((2, 3, 8, 8),), 2 * 8 * 4 * 4 * 3 * 15),
    "conv3d": (lambda: nn.Conv3d(2, 4, 3, padding=1), ((1, 2, 4, 5, 6),), 4 * 120 * 2 * 27),
    "conv2d grouped": (lambda: nn.Conv2d(8, 12, 3, groups=4), ((1, 8, 6, 6),), 12 * 16 * 2 * 9),
    "conv2d depthwise": (lambda: nn.Conv2d(8, 8, 3, groups=8, padding=1), ((1, 8, 6, 6),), 8 * 36 * 9),
    "conv2d dilated": (lambda: nn.Conv2d(4, 4, 3, dilation=2), ((1, 4, 9, 9),), 4 * 25 * 4 * 9),
    "conv2d same": (lambda: nn.Conv2d(4, 4, 3, padding="same", dilation=2), ((1, 4, 9, 9),), 4 * 81 * 4 * 9),
    "conv2d valid": (lambda: nn.Conv2d(4, 4, 3, padding="valid"), ((1, 4, 9, 9),), 4 * 49 * 4 * 9),
    "conv2d circular": (lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"), ((1, 4, 5, 5),), 4 * 25 * 36),
    "conv2d unbatched": (lambda: nn.Conv2d(4, 4, 3), ((4, 5, 5),), 4 * 9 * 36),
    # transposed: N · C_in · in · C_out/g · taps
    "conv_transpose1d": (lambda: nn.ConvTranspose1d(4, 6, 3, stride=2), ((2, 4, 5),), 2 * 4 * 5 * 6 * 3),
    "conv_transpose2d": (
        lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2, output_padding=1), ((1, 4, 5, 5),), 4 * 25 * 3 * 9,
    ),
    "conv_transpose3d": (lambda: nn.ConvTranspose3d(2, 4, 2), ((1, 2, 3, 3, 3),), 2 * 27 * 4 * 8),
    "linear": (lambda: nn.Linear(5, 7), ((2, 3, 5),), 2 * 3 * 5 * 7),
    "linear without bias": (lambda: nn.Linear(5, 7, bias=False), ((5,),), 35),
    # x1 W_k x2: B · K · I1 · I2, then B · K · I2
    "bilinear": (lambda: nn.Bilinear(3, 4, 5), ((2, 3), (2, 4)), 2 * (5 * 3 * 4 + 5 * 4)),
    "matmul": (call(torch.matmul), ((2, 3, 4, 5), (2, 3, 5, 6)), 6 * 4 * 5 * 6),
    "matmul broadcast": (call(torch.matmul), ((7, 4, 5), (5, 6)), 7 * 4 * 5 * 6),
    "matmul vector": (call(torch.matmul), ((4, 5), (5,)), 20),
    "dot": (call(torch.dot), ((5,), (5,)), 5),
    "bmm": (call(torch.bmm), ((2, 4, 5), (2, 5, 6)), 2 * 4 * 5 * 6),
    "baddbmm": (call(torch.baddbmm), ((2, 4, 6), (2, 4, 5), (2, 5, 6)), 2 * 4 * 5 * 6),
    "addmm": (call(torch.addmm), ((6,), (4, 5), (5, 6)), 4 * 5 * 6),
    "einsum": (call(lambda x, y: torch.einsum("bhqd,bhkd->bhqk", x, y)), ((2, 3, 4, 5), (2, 3, 6, 5)), 6 * 4 * 6 * 5),
    "einsum dots": (call(lambda x, y: torch.einsum("...ij,jk->...ik", x, y)), ((2, 3, 4, 5), (5, 6)), 6 * 4 * 5 * 6),
    "einsum implicit": (call(lambda x, y: torch.einsum("ij,jk", x, y)), ((2, 3), (3, 4)), 24),
    # (ij,jk → ik: 2·3·4) then (ik,kl → il: 2·4·5)
    "einsum of three": (
        call(lambda x, y, z: torch.einsum("ij,jk,kl->il", x, y, z)), ((2, 3), (3, 4), (4, 5)), 24 + 40,
    ),
    # i is summed before the product: 3 · 4
    "einsum with a sum": (call(lambda x, y: torch.einsum("ij,kj->k", x, y)), ((2, 3), (4, 3)), 12),
    # nothing is summed over: an elementwise product, as x[:, None] * y[None]
    "einsum outer": (call(lambda x, y: torch.einsum("i,j->ij", x, y)), ((4,), (5,)), 0),
    "attention": (
        call(F.scaled_dot_product_attention), ((2, 3, 4, 8), (2, 3, 5, 8), (2, 3, 5, 8)), 2 * 6 * 4 * 5 * 8,
    ),
    # every gate: input and hidden state, each step; the second layer reads both directions
    "lstm": (
        lambda: First(nn.LSTM(8, 16, num_layers=2, bidirectional=True)), ((5, 2, 8),),
        10 * 2 * 4 * 16 * ((8 + 16) + (32 + 16)),
    ),
    "lstm projected": (lambda: First(nn.LSTM(8, 16, proj_size=4)), ((5, 2, 8),), 10 * (64 * (8 + 4) + 16 * 4)),
    "gru": (lambda: First(nn.GRU(8, 16)), ((5, 2, 8),), 10 * 3 * 16 * (8 + 16)),
    "rnn": (lambda: First(nn.RNN(8, 16, nonlinearity="relu")), ((5, 2, 8),), 10 * 16 * (8 + 16)),
    "lstm cell": (lambda: First(nn.LSTMCell(8, 16)), ((2, 8),), 2 * 4 * 16 * (8 + 16)),
    "gru cell": (lambda: First(nn.GRUCell(8, 16)), ((2, 8),), 2 * 3 * 16 * (8 + 16)),
    "rnn cell": (lambda: First(nn.RNNCell(8, 16)), ((2, 8),), 2 * 16 * (8 + 16)),
    "embedding": (lambda: nn.Embedding(10, 4), (torch.zeros(2, 3, dtype=torch.long),), 0),
    "batch norm": (lambda: nn.BatchNorm2d(4), ((2, 4, 3, 3),), 0),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES)
def test_counts_what_the_formula_says_in_every_way(case: str, way: str) -> None:
    build, inputs, macs = CASES[case]
    result = counted(way, build, inputs)
    assert macs_of(result) == macs
    assert not result.unsupported_ops
    assert params_of(result) == sum(p.numel() for p in build().parameters())


def test_einsum_follows_a_given_path() -> None:
    # first the pair (1, 2): 3·4·5, then (0, 1): 2·3·5
    assert einsum_macs("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)], (1, 2, 0, 1)) == 60 + 30


@pytest.mark.parametrize("way", WAYS[::2])
def test_an_operator_that_nobody_counts_is_listed_not_dropped(way: str) -> None:
    result = counted(way, call(lambda x: torch.fft.fft(x).real), ((4, 8),))
    assert macs_of(result) == 0
    assert sum(result.unsupported_ops.values()) == 1
    assert next(iter(result.unsupported_ops)).startswith("aten._fft" if way == "recorded on cpu" else "aten.fft")


def test_an_ignored_operator_has_a_reason() -> None:
    result = counted("exported on meta", lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.LayerNorm(4)), ((2, 4),))
    assert result.ignored_ops == {"aten.layer_norm": 1, "aten.relu": 1}


@pytest.mark.parametrize(("kind", "geometry"), [("plain", (0, 0)), ("same", (2, 2))])
def test_a_convolution_keeps_its_geometry(kind: str, geometry: tuple[int, int]) -> None:
    padding: Any = kind if kind == "same" else 0
    build = lambda: nn.Conv2d(4, 8, 3, dilation=2, groups=2, padding=padding)  # noqa: E731
    (layer,) = counted("exported on meta", lambda: nn.Sequential(build()), ((1, 4, 9, 9),)).layers
    assert (layer.kind, layer.groups, layer.dilation, layer.padding) == ("conv2d", 2, (2, 2), geometry)
    assert (layer.weight, layer.weight_shape, layer.bias) == ("0.weight", (8, 2, 3, 3), True)
    assert (layer.in_channels, layer.out_channels, layer.kernel, layer.weights) == (4, 8, (3, 3), 144)
