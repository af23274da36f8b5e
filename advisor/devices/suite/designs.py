"""The networks of the suite: drawn from a seed, so that the same number is the same network everywhere.

Each is a short piece of a network of a known kind at drawn widths, resolutions and batch sizes. Running such pieces
puts every operator where it lives, behind what usually comes before it; and the pieces are whole networks themselves,
on which sums are checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from advisor.devices.suite import blocks
from advisor.devices.suite.grower import Built, Draw, Grower, begin, halve
from advisor.devices.suite.large import headed, large

# Multiply-adds of one run, drawn evenly on a log scale between these; a piece grows until it has them.
_MACS = (1e7, 2e9)
_MOST_MACS = 3e9  # a piece beyond takes a smaller batch: its layers would be long, and long work is regular
_BATCHES = (1, 1, 1, 1, 2, 4, 8, 8, 16)
LARGE = 10_000  # from this number on pieces have single layers that are large


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One network of the suite and its input (B C H W)."""

    number: int
    kind: str
    module: nn.Module
    input: Tensor


def piece(number: int, *, norm: bool = False) -> Piece:
    """The suite's network `number`, in evaluation mode.

    Args:
        norm: with batch norms, as it is trained; else as it is deployed, with them folded away.
    """
    draw = Draw(number)
    known = _KINDS if number < LARGE else _LARGE_KINDS
    kind = list(known)[number % len(known)]
    batch, target = draw.one(*_BATCHES), draw.log(*_MACS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(number)
        built = known[kind](draw, batch, target, norm)
        batch = max(min(batch, int(batch * _MOST_MACS / max(built.macs, 1))), 1)
        image = torch.randn(batch, *built.shape[1:])
    return Piece(number=number, kind=kind, module=built.module.eval(), input=image)


def kinds() -> tuple[str, ...]:
    """Of the numbers from 0 on, in turn."""
    return tuple(_KINDS)


def large_kinds() -> tuple[str, ...]:
    """Of the numbers from `LARGE` on, in turn."""
    return tuple(_LARGE_KINDS)


def order() -> Iterator[tuple[int, int]]:
    """Numbers as the suite takes them, all kinds in turn, each beside a turn that every kind comes to, whatever it is
    divided by.
    """
    for cycle in count():
        usual = range(cycle * len(_KINDS), (cycle + 1) * len(_KINDS))
        rare = range(LARGE + cycle * len(_LARGE_KINDS), LARGE + (cycle + 1) * len(_LARGE_KINDS))
        for place, number in enumerate((*usual, *rare)):
            yield number, cycle + place


def _plain(draw: Draw, batch: int, target: float, norm: bool) -> Built:
    grow = Grower(draw, batch, target)
    c, side = begin(grow, norm)
    while not grow.full:
        wide, k = draw.channels(max(c // 2, 16), min(2 * c, 1024)), draw.one(3, 3, 3, 5, 1)
        act = draw.one("relu", "relu", "silu", "none")
        grow.add(blocks.unit(c, wide, k, act=act, norm=norm), c * wide * k * k, side)
        c = wide
        if side >= 14 and draw.chance(0.3):
            grow.parts.append(nn.MaxPool2d(2, 2) if draw.chance(0.6) else nn.AvgPool2d(2, 2))
            side //= 2
    if draw.chance(0.4):
        hidden = draw.channels(256, 4096)
        out, size = draw.one(1, 2, 4, 7), draw.channels(128, 1024)
        grow.parts += [nn.AdaptiveAvgPool2d(out), nn.Flatten(), nn.Linear(c * out * out, hidden), nn.ReLU(inplace=True)]
        grow.parts += [nn.Dropout(), nn.Linear(hidden, size)]
        return Built(nn.Sequential(*grow.parts), grow.shape, grow.spent)
    return grow.end(c)


def _basic(draw: Draw, batch: int, target: float, norm: bool) -> Built:
    grow = Grower(draw, batch, target)
    c, side = begin(grow, norm, high=768)
    while not grow.full:
        stride, after = halve(grow, side)
        same, other = draw.chance(0.8), draw.channels(max(c // 2, 16), min(2 * c, 768))
        wide = min(2 * c, 768) if stride == 2 else c if same else other
        grow.add(blocks.Basic(c, wide, stride, norm=norm), 9 * (c + wide) * wide, after)
        c, side = wide, after
    return grow.end(c)


def _bottleneck(draw: Draw, batch: int, target: float, norm: bool) -> Built:
    grow = Grower(draw, batch, target)
    c, side = begin(grow, norm, high=2048)
    grouped, excited = draw.one(0, 0, 4, 8, 16, 24, 32, 64), draw.chance(0.3)
    act = draw.one("relu", "relu", "silu")
    while not grow.full:
        stride, after = halve(grow, side)
        wide = min(2 * c, 2048) if stride == 2 or draw.chance(0.25) else c
        width = grouped
        mid = max(wide // draw.one(1, 2, 4, 4), 16)
        mid = max(mid // width, 1) * width if width else mid
        squeezed = max(c // 4, 8) if excited else 0
        groups = mid // width if width else 1
        part = blocks.Bottleneck(c, mid, wide, stride, groups, squeezed=squeezed, act=act, norm=norm)
        grow.add(part, c * mid + 9 * mid * (width or mid) + mid * wide, after)
        c, side = wide, after
    return grow.end(c)


def _inverted(draw: Draw, batch: int, target: float, norm: bool) -> Built:
    grow = Grower(draw, batch, target)
    c, side = begin(grow, norm, low=8, high=320)
    act, excited = draw.one("relu6", "silu", "hardswish", "relu"), draw.chance(0.5)
    while not grow.full:
        stride, after = halve(grow, side)
        wide = draw.channels(max(c // 2, 8), min(2 * c, 448)) if stride == 2 or draw.chance(0.3) else c
        expand, k = draw.one(1, 3, 4, 6, 6), draw.one(3, 3, 5, 7)
        squeezed = max(c // 4, 4) if excited else 0
        part = blocks.Inverted(c, wide, expand, k, stride, act=act, squeezed=squeezed, norm=norm)
        grow.add(part, c * expand * (c + wide + k * k), after)
        c, side = wide, after
    if draw.chance(0.5):
        head = draw.channels(512, 2048)
        grow.parts.append(blocks.unit(c, head, act=act, norm=norm))
        c = head
    return grow.end(c)


def _grown(draw: Draw, batch: int, target: float, norm: bool) -> Built:
    grow = Grower(draw, batch, target)
    c, side = begin(grow, norm, low=32, high=768)
    while not grow.full:
        growth, layers = draw.one(12, 24, 32, 32, 48), draw.one(2, 4, 6)
        grow.add(blocks.Grown(c, growth, layers), layers * growth * (4 * c + 36 * growth), side)
        c += layers * growth
        if draw.chance(0.5) or c > 1000:
            half = c // 2
            parts: list[nn.Module] = [nn.BatchNorm2d(c), nn.ReLU(inplace=True), nn.Conv2d(c, half, 1, bias=False)]
            grow.parts += [*parts, nn.AvgPool2d(2, 2)] if side >= 14 else parts
            c, side = half, side // 2 if side >= 14 else side
    return grow.end(c)


def _shuffled(draw: Draw, batch: int, target: float, norm: bool) -> Built:
    grow = Grower(draw, batch, target)
    c, side = grow.start(24, 1024)
    while not grow.full:
        k = draw.one(3, 3, 5)
        grow.add(blocks.Shuffled(c, k, norm=norm), c * c / 2, side)
        if draw.chance(0.2):
            wide, (stride, after) = draw.channels(max(c // 2, 16), min(2 * c, 1024)), halve(grow, side)
            grow.add(blocks.unit(c, wide, 1, stride, norm=norm), c * wide, after)
            c, side = wide, after
    return grow.end(c)


def _branches(draw: Draw, batch: int, target: float, norm: bool) -> Built:
    grow = Grower(draw, batch, target)
    c, side = begin(grow, norm, low=32, high=1280)
    long, pooled, fire = draw.one(0, 0, 3, 7), draw.one("max", "avg"), draw.chance(0.25)
    while not grow.full:
        a, b = draw.channels(max(c // 8, 8), max(c // 3, 16)), draw.channels(max(c // 16, 8), max(c // 4, 16))
        d = 0 if fire else draw.channels(max(c // 16, 8), max(c // 6, 16))
        e = 0 if fire else draw.channels(max(c // 16, 8), max(c // 6, 16))
        taken = 0 if fire and not long else e
        part = blocks.Branches(c, (a, b, max(taken, 8) if long else taken, d), long=long, pooled=pooled, norm=norm)
        grow.add(part, c * (a + b + taken + d) + 18 * b * b + (2 * long or 25) * taken * taken, side)
        c = a + 2 * b + (max(taken, 8) if long else taken) + d
        if side >= 14 and draw.chance(0.3):
            grow.parts.append(nn.MaxPool2d(3, 2, ceil_mode=draw.chance(0.5)))
            side //= 2  # only how far the piece has grown is reckoned from it
        if c > 1536:
            break
    return grow.end(c)


def _convnext(draw: Draw, batch: int, target: float, norm: bool) -> Built:
    grow = Grower(draw, batch, target)
    if draw.chance(0.3):
        side, c = draw.one(40, 48, 56, 64), draw.channels(32, 128)
        grow.shape = (batch, 3, 4 * side, 4 * side)
        grow.add(nn.Sequential(nn.Conv2d(3, c, 4, 4), blocks.LayerNorm2d(c)), 48 * c, side)
    else:
        c, side = grow.start(32, 1024)
    while not grow.full:
        k = draw.one(7, 7, 5, 3)
        grow.add(blocks.ConvNext(c, k), 8 * c * c + k * k * c, side)
        if side >= 14 and draw.chance(0.25):
            grow.add(nn.Sequential(blocks.LayerNorm2d(c), nn.Conv2d(c, 2 * c, 2, 2)), 2 * c * c, side)
            c, side = 2 * c, side // 2
    return grow.end(c)


class _Tokens(nn.Module):
    """An image cut into patches, each a token; then blocks."""

    def __init__(self, patch: int, width: int, made: list[nn.Module]) -> None:
        super().__init__()
        self.cut, self.blocks = nn.Conv2d(3, width, patch, patch), nn.Sequential(*made)
        self.first = nn.Parameter(torch.zeros(1, 1, width))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 1000)

    def forward(self, x: Tensor) -> Any:
        x = self.cut(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.first.expand(x.shape[0], -1, -1), x), dim=1)
        return self.head(self.norm(self.blocks(x))[:, 0])


def _tokens(draw: Draw, batch: int, target: float, norm: bool) -> Built:
    grow = Grower(draw, batch, target)
    heads, each = draw.one(3, 4, 6, 8, 12, 16), draw.one(32, 64, 64, 64)
    width, patch = heads * each, draw.one(8, 14, 16, 16, 32)
    side = draw.one(7, 12, 14, 14, 16)
    attention, ratio = draw.one("torch", "fused", "fused", "parts"), draw.one(2, 4, 4)
    while not grow.full:
        grow.add(blocks.TokenBlock(width, heads, ratio, attention=attention), (4 + 2 * ratio) * width * width, side)
        if len(grow.parts) >= 12:
            break
    return Built(_Tokens(patch, width, grow.parts), (batch, 3, patch * side, patch * side), grow.spent)


class _Windows(nn.Module):
    """An image cut into 4x4 patches, channels last; then blocks over windows, with merges between them."""

    def __init__(self, width: int, made: list[nn.Module], last: int) -> None:
        super().__init__()
        self.cut, self.blocks = nn.Conv2d(3, width, 4, 4), nn.Sequential(*made)
        self.norm, self.head = nn.LayerNorm(last), nn.Linear(last, 1000)

    def forward(self, x: Tensor) -> Any:
        x = self.norm(self.blocks(self.cut(x).permute(0, 2, 3, 1)))
        return self.head(x.permute(0, 3, 1, 2).mean((2, 3)))


class _Merge(nn.Module):
    """Four neighbouring tokens become one of twice the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.reduction = nn.LayerNorm(4 * width), nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Any:
        corners = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
        return self.reduction(self.norm(torch.cat(corners, -1)))


def _windows(draw: Draw, batch: int, target: float, norm: bool) -> Built:
    grow = Grower(draw, batch, target)
    heads, window = draw.one(2, 3, 4, 6), draw.one(7, 7, 8)
    width = first = 32 * heads
    side = window * draw.one(2, 4, 8)
    start = side
    while not grow.full and len(grow.parts) < 12:
        rolled = draw.chance(0.5)
        grow.add(blocks.WindowBlock(width, width // 32, window, rolled=rolled), 12 * width * width, side)
        if side >= 2 * window and draw.chance(0.35):
            grow.add(_Merge(width), 2 * width * width, side)
            width, side = 2 * width, side // 2
    return Built(_Windows(first, grow.parts, width), (batch, 3, 4 * start, 4 * start), grow.spent)


_KINDS: dict[str, Callable[[Draw, int, float, bool], Built]] = {
    "plain": _plain,
    "basic": _basic,
    "bottleneck": _bottleneck,
    "inverted": _inverted,
    "grown": _grown,
    "shuffled": _shuffled,
    "branches": _branches,
    "convnext": _convnext,
    "tokens": _tokens,
    "windows": _windows,
    "inverted again": _inverted,
    "bottleneck again": _bottleneck,
}
_LARGE_KINDS: dict[str, Callable[[Draw, int, float, bool], Built]] = {"large": large, "headed": headed}
