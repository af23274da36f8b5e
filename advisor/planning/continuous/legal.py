"""Densities that a pattern can really keep, next to one that was wished for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advisor.patterns.option import Option

if TYPE_CHECKING:
    from advisor.network import Layer

REACH = 2  # steps of the pattern to each side


def may_vary(layer: Layer, option: Option) -> bool:
    """Whether the option's pattern keeps more or less by its density alone; width and n:m do not."""
    from advisor.patterns.base import pattern, pattern_names

    if option.pattern not in pattern_names() or option.pattern in ("dense", "width", "n:m"):
        return False
    return not pattern(option.pattern).problem(layer, option)


def legal_near(layer: Layer, option: Option, density: float, reach: int = REACH) -> tuple[Option, ...]:
    """Options as `option`, with the densities nearest to `density` that keep different weights, ascending.

    A pattern keeps weights in steps: inputs, blocks, single weights. The step is what it keeps at the least density,
    and each option's density is the share that it really keeps.

    Args:
        layer: whose weights they are.
        option: gives pattern and parameters; `may_vary`.
        density: wished for, in (0, 1].
        reach: steps to each side of it.
    """
    from advisor.patterns.base import pattern

    kind = pattern(option.pattern)

    def kept(share: float) -> int:
        made = Option(pattern=option.pattern, density=share, parameters=option.parameters)
        return kind.kept_weights(layer, made)

    step, middle = kept(1e-9), kept(density)
    found: dict[int, Option] = {}
    for move in range(-reach, reach + 1):
        wanted = middle + move * step
        if not step <= wanted < layer.weights:
            continue
        made = Option(pattern=option.pattern, density=wanted / layer.weights, parameters=option.parameters)
        found.setdefault(kind.kept_weights(layer, made), made)
    return tuple(found[count] for count in sorted(found))
