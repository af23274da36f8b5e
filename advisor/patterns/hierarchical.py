"""Hierarchical attention as an option of an attention layer: what it may be, what it computes, what it adds.

Other patterns take weights out of a layer. This one puts another operator in the place of softmax attention over image
tokens: attention inside windows, then of every token to pooled ones (Liu et al. 2021, arXiv 2106.03180), between the
projections that the layer has already. Its units are pairs of tokens: `density` is the share of the query-key pairs of
plain attention that are still computed, padding included. What the new projections cost is no part of the density, but
of every count: at few tokens they cost more than the pairs save.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from advisor.errors import PatternError
from advisor.patterns.base import is_count
from advisor.patterns.option import Option

HIERARCHICAL = "hierarchical"
WINDOWS, POOLS = (4, 7, 8, 14), (2, 4, 8)  # the published networks' 7, 8 and 2, 4, 8, and a size on either side


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionShape:
    """What plain self-attention over image tokens works on: N = prefix + height · width tokens, C channels.

    Attributes:
        channels: C, over all heads; the same at the input, at the heads and at the output.
        heads: number of heads.
        height: of the map of image tokens, which follow one another row by row.
        width: likewise.
        prefix: tokens before those of the image, such as a class token. They have no window.
        images: how many sequences the analysed input holds, over all calls; it scales multiply-adds.
    """

    channels: int
    heads: int
    height: int
    width: int
    prefix: int = 0
    images: int = 1

    @property
    def tokens(self) -> int:
        return self.prefix + self.height * self.width

    @property
    def plain_macs(self) -> int:
        """Multiply-adds of QKᵀ and of the mixing of V: 2N²C for each image."""
        return 2 * self.channels * self.tokens**2 * self.images


def hierarchical(shape: AttentionShape, window: int, pool: int) -> Option:
    """The option of that window and pooling; its density follows.

    Raises:
        PatternError: see `problem`.
    """
    parameters = {"window": window, "pool": pool}
    if reason := problem(shape, parameters):
        raise PatternError(f"hierarchical window={window} pool={pool}: {reason}")
    return Option(pattern=HIERARCHICAL, density=sum(pairs(shape, parameters)) / shape.tokens**2, parameters=parameters)


def problem(shape: AttentionShape, parameters: Mapping[str, Any]) -> str:
    """Why attention of this shape cannot become hierarchical with these parameters; "" where it can."""
    if set(parameters) != {"window", "pool"}:
        return f"has parameters {', '.join(sorted(parameters)) or 'none'}; expected pool, window"
    for name, value in parameters.items():
        if not is_count(value):
            return f"parameter {name}={value!r} is not a positive integer"
    if parameters["window"] < 2:
        return "window=1 is plain attention; expected 2 or more"
    if parameters["window"] >= max(shape.height, shape.width):
        return f"the window holds all {shape.height}x{shape.width} tokens; expected less than the longer side"
    if sum(pairs(shape, parameters)) >= shape.tokens**2:
        return (
            f"it computes as many pairs of tokens as plain attention of {shape.tokens} tokens; a larger pool has fewer"
        )
    return ""


def pairs(shape: AttentionShape, parameters: Mapping[str, Any]) -> tuple[int, int]:
    """Query-key pairs of one head: inside windows, padding included, and of the global step."""
    sides = min(parameters["window"], shape.height), min(parameters["window"], shape.width)
    windows = -(-shape.height // sides[0]) * -(-shape.width // sides[1])
    inside: int = windows * (sides[0] * sides[1]) ** 2
    return inside, shape.tokens * pooled_tokens(shape, parameters)


def pooled_tokens(shape: AttentionShape, parameters: Mapping[str, Any]) -> int:
    """Keys of the global step: the prefix and ⌈H/D⌉ ⌈W/D⌉ means."""
    pool: int = parameters["pool"]
    return shape.prefix + -(-shape.height // pool) * -(-shape.width // pool)


def products_macs(shape: AttentionShape, parameters: Mapping[str, Any]) -> int:
    """Multiply-adds of both steps' attention products."""
    return 2 * shape.channels * sum(pairs(shape, parameters)) * shape.images


def projections_macs(shape: AttentionShape, parameters: Mapping[str, Any]) -> int:
    """Multiply-adds of the new projections: q of every token, k and v of the pooled ones: (N + 2M) C²."""
    return (shape.tokens + 2 * pooled_tokens(shape, parameters)) * shape.channels**2 * shape.images


def macs(shape: AttentionShape, option: Option) -> int:
    """What takes the place of `shape.plain_macs`; plain attention's own for the dense option."""
    if option.pattern != HIERARCHICAL:
        return shape.plain_macs
    return products_macs(shape, option.parameters) + projections_macs(shape, option.parameters)


def added_params(shape: AttentionShape, option: Option) -> int:
    """Elements of the new parameters: q and kv with biases, 3C² + 3C, and two norms, 4C."""
    return 3 * shape.channels**2 + 7 * shape.channels if option.pattern == HIERARCHICAL else 0


def options(shape: AttentionShape) -> tuple[Option, ...]:
    """The default choices: legal and with fewer multiply-adds than plain attention, most pairs first."""
    found = [
        hierarchical(shape, window, pool)
        for window in WINDOWS
        for pool in POOLS
        if not problem(shape, {"window": window, "pool": pool})
    ]
    cheaper = [option for option in found if macs(shape, option) < shape.plain_macs]
    return tuple(sorted(cheaper, key=lambda option: (-option.density, option.label)))


def why_none(shape: AttentionShape) -> str:
    """Why `options` has nothing for this shape, with the numbers of the cheapest choice; "" where it has something."""
    if options(shape):
        return ""
    legal = [
        hierarchical(shape, window, pool)
        for window in WINDOWS
        for pool in POOLS
        if not problem(shape, {"window": window, "pool": pool})
    ]
    if not legal:
        return f"{shape.height}x{shape.width} tokens are too few for windows of {', '.join(map(str, WINDOWS))}"
    best = min(legal, key=lambda option: macs(shape, option))
    return (
        f"at {shape.tokens} tokens it costs more than it saves: {macs(shape, best) / 1e6:.4g} M multiply-adds at best "
        f"({best.label}), {projections_macs(shape, best.parameters) / 1e6:.4g} M of them in new projections, against "
        f"{shape.plain_macs / 1e6:.4g} M of plain attention"
    )
