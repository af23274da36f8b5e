"""Peak activations against small networks that can be counted on fingers. Float32: four bytes an element."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advisor.counting.liveness import peak_activation_bytes, storages
from tests.counting.ways import WAYS, graph_of


class Run(nn.Module):
    """A function of the input, as a module."""

    def __init__(self, function: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> object:
        return self.function(x)


def write_into_zeros(x: Tensor) -> Tensor:
    held = torch.zeros(4, 10, device=x.device)
    held[0] = x.exp()
    return held.sum()


# name: (function of 10 floats, largest number of floats alive at once)
CASES: dict[str, tuple[Callable[[Tensor], object], int]] = {
    "a chain keeps two": (lambda x: x.exp().log().sin(), 20),
    "in place keeps one more": (lambda x: x.exp().log_().sin_(), 20),
    "a branch keeps three": (lambda x: x.exp() + x, 30),
    "a view is free": (lambda x: x.exp().view(2, 5).t().exp(), 20),
    "a reshape that can be a view is free": (lambda x: x.exp().reshape(2, 5).sin(), 20),
    "a reshape that cannot is a copy": (lambda x: [(y := x.exp().view(2, 5)), y.t().reshape(10)], 20),
    "contiguous copies where it must": (lambda x: [(y := x.exp().view(2, 5).t()), y.contiguous()], 20),
    "a conversion copies": (lambda x: x.exp().double(), 10 + 20),
    "a conversion to itself does not": (lambda x: x.exp().float().sin(), 20),
    "dropout is nothing in evaluation": (lambda x: F.dropout(x.exp(), 0.5, False).sin(), 20),
    "what is written into counts whole": (write_into_zeros, 40 + 20),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES)
def test_the_peak(case: str, way: str) -> None:
    function, elements = CASES[case]
    _, graph = graph_of(way, lambda: Run(function), ((10,),))
    assert peak_activation_bytes(graph) == 4 * elements


@pytest.mark.parametrize("way", WAYS)
def test_weights_and_what_is_made_from_them_are_no_activations(way: str) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(100))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.weight.exp().sum()

    _, graph = graph_of(way, Scaled, ((10,),))
    assert peak_activation_bytes(graph) == 4 * 20
    assert [storage.start for storage in storages(graph)] == [-1, graph.ops[-1].index]


def test_outputs_live_to_the_end() -> None:
    _, graph = graph_of("exported on meta", lambda: Run(lambda x: (x.exp(), x.sin(), x.cos())), ((10,),))
    assert [storage.end for storage in storages(graph)] == [2, 3, 3, 3]
    assert peak_activation_bytes(graph) == 4 * 40


def test_exported_and_recorded_peaks_agree_on_a_network() -> None:
    from advisor.zoo.digits import DigitsCNN

    peaks = [peak_activation_bytes(graph_of(way, DigitsCNN, ((1, 1, 40, 40),))[1]) for way in WAYS]
    # The first batch norm's input and output, 32 channels of 40x40; recorded on meta it hands its statistics out too.
    assert peaks[:3] == [2 * 32 * 1600 * 4] * 3
    assert peaks[3] == peaks[0] + 2 * 32 * 4
