"""Pieces whose single layers are large: convolutions as in VGG, and linear layers that no cache holds."""

from __future__ import annotations

from math import prod

import torch
from torch import nn

from advisor.devices.suite.blocks import unit
from advisor.devices.suite.grower import Built, Draw, Grower

# Channels x side of a convolution, 14336 for 64 x 224 to 512 x 28 in VGG: 9 (channels x side)² multiply-adds.
_CHANNEL_SIDE = (3500.0, 14500.0)
_SIDES = (7, 14, 14, 28, 28, 56, 56, 112, 224)
_WEIGHTS = (1e6, 1.05e8)  # of a piece's first linear layer: the largest ones known are VGG's with 25088 x 4096
_LATER = 2e7  # weights of the linear layers after it
_CHUNK = 1 << 20


def large(draw: Draw, batch: int, target: float, norm: bool) -> Built:
    """One to three wide 3x3 convolutions, pooled: each one does as much as another piece's dozen."""
    side = draw.one(*_SIDES)
    c = _multiple(draw.log(*_CHANNEL_SIDE) / side, 1024)
    grow = Grower(draw, batch, target)
    grow.shape = (batch, c, side, side)
    if side >= 112 and draw.chance(0.4):
        grow.shape = (batch, 3, side, side)
        grow.add(unit(3, c, 3, norm=norm), 27 * c, side)
    for index in range(draw.one(1, 1, 2, 3)):
        wide = _multiple(min(c * draw.one(0.5, 1.0, 1.0, 2.0), _CHANNEL_SIDE[1] ** 2 / (c * side**2)), 1024)
        grow.add(unit(c, wide, 3, norm=norm), 9 * c * wide, side)
        c = wide
        if index == 0 and side >= 14 and draw.chance(0.5):
            grow.parts.append(nn.MaxPool2d(2, 2))
            side //= 2
        if grow.spent > target:
            break
    return grow.end(c)


def headed(draw: Draw, batch: int, target: float, norm: bool) -> Built:
    """A convolution, then a classifier of linear layers that holds nearly all of the weights (AlexNet, VGG)."""
    c, out = draw.one(64, 128, 256, 256, 512, 512, 1280), draw.one(1, 2, 3, 6, 7, 7)
    side = out * draw.one(1, 2)
    grow = Grower(draw, batch, target)
    grow.shape = (batch, c, side, side)
    grow.add(unit(c, c, 3, norm=norm), 9 * c * c, side)
    if side > out:
        grow.parts.append(nn.MaxPool2d(2, 2) if draw.chance(0.5) else nn.AdaptiveAvgPool2d(out))
    features = c * out * out
    hidden = _multiple(draw.log(*_WEIGHTS) / features, 8192)
    later = _multiple(min(draw.log(256, 8192), _LATER / hidden), 8192)
    act, classes = draw.one(nn.ReLU, nn.ReLU, nn.GELU), draw.one(10, 100, 1000, 1000)
    grow.parts += [nn.Flatten(), nn.Dropout(), linear(features, hidden), act()]
    grow.parts += [nn.Dropout(), linear(hidden, later), act(), linear(later, classes)]
    grow.spent += batch * (features * hidden + hidden * later + later * classes)
    return Built(nn.Sequential(*grow.parts), grow.shape, grow.spent)


def linear(c_in: int, c_out: int) -> nn.Linear:
    """A linear layer with drawn weights, a short piece of them again and again: drawing all takes a second and more."""
    made = nn.Linear(c_in, c_out, device="meta").to_empty(device=torch.get_default_device())
    bound = c_in**-0.5
    with torch.no_grad():
        drawn = torch.empty(min(prod(made.weight.shape), _CHUNK)).uniform_(-bound, bound)
        flat = made.weight.view(-1)
        for start in range(0, len(flat), _CHUNK):
            piece = flat[start : start + _CHUNK]
            piece.copy_(drawn[: len(piece)])
        made.bias.uniform_(-bound, bound)
    return made


def _multiple(value: float, most: int) -> int:
    """The nearest multiple of 16, as people choose them."""
    return min(max(round(value / 16), 1) * 16, most)
