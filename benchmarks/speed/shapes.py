"""The convolutions of a network: found by tracing it, equal ones counted once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import torch
from torch import nn

from advisor.commands.network import open_network
from advisor.network import Layer

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One convolution of a network, for one image."""

    in_channels: int
    out_channels: int
    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int
    bias: bool
    size: Pair  # of the input
    out_size: Pair

    @property
    def label(self) -> str:
        """As in "64>128 3x3/2 @56x56"."""
        depth = "" if self.groups == 1 else f" g{self.groups}"
        stride = f"{self.stride[0]}" if self.stride[0] == self.stride[1] else "x".join(map(str, self.stride))
        kernel, size = "x".join(map(str, self.kernel)), "x".join(map(str, self.size))
        return f"{self.in_channels}>{self.out_channels} {kernel}/{stride}{depth} @{size}"

    @property
    def macs(self) -> int:
        """Of one image, dense."""
        return self.out_channels * self.in_channels // self.groups * prod(self.kernel) * prod(self.out_size)

    @property
    def covered(self) -> bool:
        """Whether a pattern thins it out; the first layer (3 colours) and depthwise ones stay dense."""
        return self.groups == 1 and self.in_channels > 4

    def module(self) -> nn.Conv2d:
        """The dense layer, with weights drawn as torch draws them."""
        return nn.Conv2d(
            self.in_channels,
            self.out_channels,
            self.kernel,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            bias=self.bias,
        ).requires_grad_(False)

    def input(self, batch: int) -> torch.Tensor:
        return torch.randn(batch, self.in_channels, *self.size)


def convolutions(model: str) -> Counter[Shape]:
    """How often each 2d convolution is run for one image."""
    found: Counter[Shape] = Counter()
    for layer in open_network(model, None).sparsifiable:
        found.update(_shapes(layer))
    return found


def _shapes(layer: Layer) -> Iterator[Shape]:
    if layer.kind != "conv2d":
        return
    for call in layer.calls:
        yield Shape(
            in_channels=layer.in_channels,
            out_channels=layer.out_channels,
            kernel=_pair(layer.kernel),
            stride=_pair(layer.stride),
            padding=_pair(layer.padding),
            dilation=_pair(layer.dilation),
            groups=layer.groups,
            bias=layer.bias,
            size=_pair(call.input_shape[-2:]),
            out_size=_pair(call.output_shape[-2:]),
        )


def _pair(values: tuple[int, ...]) -> Pair:
    height, width = values
    return height, width
