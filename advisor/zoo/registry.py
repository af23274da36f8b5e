"""What a network of the zoo is, and the table of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from advisor.network import Shape

Build = Callable[[int], nn.Module]  # number of classes → the network, with random weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """How to build a network of the zoo. `build` takes the number of classes."""

    build: Build
    input_shape: Shape
    classes: int


ZOO: dict[str, Entry] = {}


def register_network(name: str, *, input_shape: Shape, classes: int) -> Callable[[Build], Build]:
    """Puts a factory into the zoo under `name`.

    Raises:
        ValueError: when applied, the name is taken.
    """

    def register(build: Build) -> Build:
        if name in ZOO:
            raise ValueError(f"two networks are called {name!r}")
        ZOO[name] = Entry(build=build, input_shape=input_shape, classes=classes)
        return build

    return register
