"""How a piece grows: its random choices, and the parts that are appended until it does enough work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from torch import nn

from advisor.devices.suite import blocks

T = TypeVar("T")
_SIDES = (7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 112)


class Draw:
    """Random choices of one piece."""

    def __init__(self, number: int) -> None:
        self._rng = np.random.Generator(np.random.PCG64([20, number]))

    def one(self, *items: T) -> T:
        return items[int(self._rng.integers(len(items)))]

    def log(self, low: float, high: float) -> float:
        return float(np.exp(self._rng.uniform(np.log(low), np.log(high))))

    def channels(self, low: int, high: int) -> int:
        """Mostly multiples of 16 or 32, some of 8, few of 4: as people choose them."""
        step = int(self._rng.choice([4, 8, 16, 32, 64], p=[0.08, 0.27, 0.25, 0.25, 0.15]))
        return max(round(self.log(low, high) / step), 1) * step

    def chance(self, p: float) -> bool:
        return bool(self._rng.random() < p)


@dataclass(slots=True)
class Built:
    module: nn.Module
    shape: tuple[int, ...]
    macs: float


class Grower:
    """Appends parts to a piece until its multiply-adds are reached."""

    def __init__(self, draw: Draw, batch: int, target: float) -> None:
        self.draw, self.target = draw, target
        self.parts: list[nn.Module] = []
        self.batch, self.spent = batch, 0.0

    def start(self, low: int, high: int) -> tuple[int, int]:
        """Channels and side of the first part, wide where small."""
        side = self.draw.one(*_SIDES)
        middle = 3600 / side
        c = self.draw.channels(max(low, int(middle / 5)), min(max(int(middle * 4), 2 * low), high))
        self.shape: tuple[int, ...] = (self.batch, c, side, side)
        return c, side

    def image(self, norm: bool) -> tuple[int, int]:
        """Begins with a photograph: a stem, sometimes a pooling after it."""
        size = 32 * self.draw.one(3, 4, 5, 6, 7, 7, 7, 8, 9, 10)
        c = self.draw.channels(16, 96)
        k, s = self.draw.one((7, 2), (3, 2), (3, 2), (3, 1), (4, 4))
        act = self.draw.one("relu", "relu6", "silu", "hardswish")
        self.shape = (self.batch, 3, size, size)
        self.parts.append(blocks.unit(3, c, k, s, act=act, norm=norm))
        side = (size + 2 * (k // 2) - k) // s + 1
        self.spent += self.batch * 3 * c * k * k * side * side
        if self.draw.chance(0.5) and side > 30:
            overlapping = self.draw.chance(0.7)
            self.parts.append(nn.MaxPool2d(3, 2, 1) if overlapping else nn.MaxPool2d(2, 2))
            side = (side - 1) // 2 + 1 if overlapping else side // 2
        return c, side

    def add(self, part: nn.Module, weights: float, side: int) -> None:
        self.parts.append(part)
        self.spent += self.batch * weights * side * side

    @property
    def full(self) -> bool:
        return self.spent >= self.target or len(self.parts) >= 24

    def end(self, c: int) -> Built:
        """Closes with a pooling and a classifier."""
        if self.draw.chance(0.7):
            classes = self.draw.one(10, 100, 1000, 1000)
            self.parts += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, classes)]
        return Built(nn.Sequential(*self.parts), self.shape, self.spent)


def begin(grow: Grower, norm: bool, low: int = 16, high: int = 1024) -> tuple[int, int]:
    return grow.image(norm) if grow.draw.chance(0.35) else grow.start(low, high)


def halve(grow: Grower, side: int) -> tuple[int, int]:
    """Stride of the next part and the side after it."""
    stride = 2 if side >= 12 and grow.draw.chance(0.3) else 1
    return stride, (side - 1) // stride + 1
