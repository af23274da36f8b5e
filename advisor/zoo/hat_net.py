"""HAT-Net for images of 224x224 (Liu et al. 2021, arXiv 2106.03180; Machine Intelligence Research 21, 2024)."""

from __future__ import annotations

from torch import nn

from advisor.runtime.attention.hierarchical import group_norm
from advisor.zoo.hierarchical_blocks import (
    FourStages,
    Residual,
    Stage,
    attention,
    drops,
    head,
    stem,
    steps_between,
)
from advisor.zoo.registry import register_network

WINDOWS, POOLS = (8, 7, 7, 1), (8, 4, 2, 1)


def stages_of(
    channels: tuple[int, ...], depths: tuple[int, ...], kernels: tuple[int, ...] = (3, 3, 3, 3)
) -> tuple[Stage, ...]:
    """The four stages; expansions 8, 8, 4, 4 in all of them."""
    rows = zip(channels, depths, (8, 8, 4, 4), kernels, WINDOWS, POOLS, strict=True)
    return tuple(Stage(channels=c, depth=n, expansion=e, kernel=k, window=g, pool=d) for c, n, e, k, g, d in rows)


TINY = stages_of((48, 96, 240, 384), (2, 2, 6, 3))
SMALL = stages_of((64, 128, 320, 512), (2, 3, 8, 3))
MEDIUM = stages_of((64, 128, 320, 512), (3, 6, 18, 3), (5, 3, 5, 3))
LARGE = stages_of((64, 128, 320, 640), (3, 8, 27, 3))


def inverted_residual(channels: int, expansion: int, kernel: int) -> nn.Sequential:
    """Norm, 1x1 to e·C, SiLU, depthwise k x k, SiLU, 1x1 to C, norm; no biases. B C H W → B C H W."""
    wide = channels * expansion
    return nn.Sequential(
        group_norm(channels),
        nn.Conv2d(channels, wide, 1, bias=False),
        nn.SiLU(),
        nn.Conv2d(wide, wide, kernel, padding=kernel // 2, groups=wide, bias=False),
        nn.SiLU(),
        nn.Conv2d(wide, channels, 1, bias=False),
        group_norm(channels),
    )


def hat_net(stages: tuple[Stage, ...], classes: int, *, head_size: int, drop_path: float = 0.0) -> nn.Module:
    """B 3 H W → B classes; H and W need not be 224.

    Args:
        stages: four of them.
        classes: of the classifier.
        head_size: dimensions of an attention head, which divides the channels of every stage.
        drop_path: with what probability the last block's branches are left out in training.
    """
    blocks = []
    for stage, rates in zip(stages, drops(stages, drop_path), strict=True):
        members: list[nn.Module] = []
        for rate in rates:
            members.append(Residual(attention(stage, head_size, group_norm, spare_norm=True), rate))
            members.append(Residual(inverted_residual(stage.channels, stage.expansion, stage.kernel), rate))
        blocks.append(nn.Sequential(*members))
    halvings = [
        nn.Sequential(nn.Conv2d(before, after, 3, stride=2, padding=1), group_norm(after))
        for before, after in steps_between(stages)
    ]
    return FourStages(stem(stages[0].channels, group_norm), blocks, halvings, head(stages[-1].channels, classes))


@register_network("hat_net_tiny", input_shape=(1, 3, 224, 224), classes=1000)
def hat_net_tiny(classes: int) -> nn.Module:
    """12 655 912 parameters for 1000 classes."""
    return hat_net(TINY, classes, head_size=48)


@register_network("hat_net_small", input_shape=(1, 3, 224, 224), classes=1000)
def hat_net_small(classes: int) -> nn.Module:
    """25 747 784 parameters for 1000 classes."""
    return hat_net(SMALL, classes, head_size=64)


@register_network("hat_net_medium", input_shape=(1, 3, 224, 224), classes=1000)
def hat_net_medium(classes: int) -> nn.Module:
    """42 942 472 parameters for 1000 classes."""
    return hat_net(MEDIUM, classes, head_size=64)


@register_network("hat_net_large", input_shape=(1, 3, 224, 224), classes=1000)
def hat_net_large(classes: int) -> nn.Module:
    """63 132 488 parameters for 1000 classes."""
    return hat_net(LARGE, classes, head_size=64)
