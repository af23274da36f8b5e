"""What HAT-Net and TransCNN share: blocks of hierarchical attention and inverted residuals in four stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from advisor.runtime.attention.hierarchical import HierarchicalAttention, NormFactory


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Blocks of one resolution: C channels, expansion e and kernel k of the inverted residuals, window G, pooling D."""

    channels: int
    depth: int
    expansion: int
    kernel: int
    window: int
    pool: int


class Residual(nn.Module):
    """x + branch(x); while training the branch is left out of whole examples with probability `drop`."""

    def __init__(self, branch: nn.Module, drop: float = 0.0) -> None:
        super().__init__()
        self.branch = branch
        self.drop: nn.Module = nn.Identity()
        if drop > 0:
            from torchvision.ops import StochasticDepth

            self.drop = StochasticDepth(drop, "row")

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.drop(self.branch(x))
        return out


def attention(stage: Stage, head: int, norm: NormFactory, *, spare_norm: bool = False) -> nn.Module:
    """Hierarchical attention with heads of `head` dimensions.

    Args:
        spare_norm: holds one norm more that nothing reads, as the published HAT-Nets do: their numbers of parameters
            count it.
    """
    heads = stage.channels // head
    made = HierarchicalAttention(stage.channels, heads=heads, window=stage.window, pool=stage.pool, norm=norm)
    if spare_norm:
        made.spare_norm = norm(stage.channels)
    return made


class FourStages(nn.Module):
    """Stem, four stages with a halving before each but the first, mean over positions, linear. B 3 H W → B classes."""

    def __init__(
        self, stem: nn.Module, stages: Sequence[nn.Module], halvings: Sequence[nn.Module], classifier: nn.Module
    ) -> None:
        super().__init__()
        self.stem = stem
        self.stages = nn.ModuleList(stages)
        self.halvings = nn.ModuleList(halvings)
        self.classifier = classifier
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages[0](self.stem(x))
        for halving, stage in zip(self.halvings, self.stages[1:], strict=True):
            x = stage(halving(x))
        logits: Tensor = self.classifier(x.mean((2, 3)))
        return logits


def stem(channels: int, norm: NormFactory) -> nn.Sequential:
    """Two 3x3 convolutions of stride 2, 3 → 16 → channels. B 3 H W → B channels H/4 W/4."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1), norm(16), nn.SiLU(), nn.Conv2d(16, channels, 3, stride=2, padding=1)
    )


def head(channels: int, classes: int) -> nn.Sequential:
    return nn.Sequential(nn.Dropout(0.2), nn.Linear(channels, classes))


def drops(stages: Sequence[Stage], last: float) -> list[list[float]]:
    """Per stage and block the probability of leaving a branch out: from 0 at the first block straight up to `last`."""
    blocks = sum(stage.depth for stage in stages)
    rising = iter(last * block / max(blocks - 1, 1) for block in range(blocks))
    return [[next(rising) for _ in range(stage.depth)] for stage in stages]


def steps_between(stages: Sequence[Stage]) -> list[tuple[int, int]]:
    """(channels before, channels after) of each halving."""
    return [(before.channels, after.channels) for before, after in pairwise(stages)]


def initialise(module: nn.Module) -> None:
    """Weights from a normal distribution of deviation 0.02 cut at ±2, biases 0; norms keep torch's 1 and 0."""
    for child in module.modules():
        if isinstance(child, nn.Conv2d | nn.Linear):
            nn.init.trunc_normal_(child.weight, std=0.02)
            if child.bias is not None:
                nn.init.zeros_(child.bias)
