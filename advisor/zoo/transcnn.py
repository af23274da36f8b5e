"""TransCNN for images of 256x256: HAT-Net's first version, with batch norm (Liu et al. 2021, arXiv 2106.03180)."""

from __future__ import annotations

from torch import Tensor, nn

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

HEAD_SIZE = 64


def stages_of(channels: tuple[int, ...], depths: tuple[int, ...], expansions: tuple[int, ...]) -> tuple[Stage, ...]:
    """The four stages; kernels 5, 3, 5, 3, windows 8, 8, 8, 1 and pooling 8, 4, 2, 1 in all of them."""
    rows = zip(channels, depths, expansions, (5, 3, 5, 3), (8, 8, 8, 1), (8, 4, 2, 1), strict=True)
    return tuple(Stage(channels=c, depth=n, expansion=e, kernel=k, window=g, pool=d) for c, n, e, k, g, d in rows)


TINY = stages_of((64, 128, 256, 512), (2, 2, 4, 2), (4, 4, 4, 4))
SMALL = stages_of((64, 128, 256, 512), (3, 4, 8, 3), (4, 4, 6, 6))
MEDIUM = stages_of((64, 128, 320, 640), (3, 4, 12, 3), (4, 4, 6, 6))
LARGE = stages_of((64, 128, 384, 768), (3, 4, 16, 3), (4, 4, 6, 6))


def inverted_residual(channels: int, expansion: int, kernel: int) -> nn.Sequential:
    """1x1 to e·C, depthwise k x k, 1x1 to C, a batch norm after each, SiLU between; no biases. B C H W → B C H W."""
    wide = channels * expansion
    return nn.Sequential(
        nn.Conv2d(channels, wide, 1, bias=False),
        nn.BatchNorm2d(wide),
        nn.SiLU(),
        nn.Conv2d(wide, wide, kernel, padding=kernel // 2, groups=wide, bias=False),
        nn.BatchNorm2d(wide),
        nn.SiLU(),
        nn.Conv2d(wide, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
    )


class Halving(nn.Module):
    """A 3x3 convolution of stride 2 beside max pooling and a 1x1 convolution, each normed; SiLU of the sum.

    B inputs H W → B outputs H/2 W/2, both rounded up.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.BatchNorm2d(outputs))
        # Rounded up like the convolution, so that odd sizes add up, too.
        pool = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.pooled = nn.Sequential(pool, nn.Conv2d(inputs, outputs, 1), nn.BatchNorm2d(outputs))
        self.activation = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.activation(self.conv(x) + self.pooled(x))
        return out


def transcnn(
    stages: tuple[Stage, ...], classes: int, *, head_size: int = HEAD_SIZE, drop_path: float = 0.0
) -> nn.Module:
    """B 3 H W → B classes; H and W need not be 256. Arguments as in `hat_net`."""
    blocks = []
    for stage, rates in zip(stages, drops(stages, drop_path), strict=True):
        members: list[nn.Module] = []
        for rate in rates:
            members.append(Residual(attention(stage, head_size, nn.BatchNorm2d), rate))
            members.append(Residual(inverted_residual(stage.channels, stage.expansion, stage.kernel), rate))
        blocks.append(nn.Sequential(*members))
    halvings = [Halving(before, after) for before, after in steps_between(stages)]
    return FourStages(stem(stages[0].channels, nn.BatchNorm2d), blocks, halvings, head(stages[-1].channels, classes))


@register_network("transcnn_tiny", input_shape=(1, 3, 256, 256), classes=1000)
def transcnn_tiny(classes: int) -> nn.Module:
    """13 315 976 parameters for 1000 classes."""
    return transcnn(TINY, classes)


@register_network("transcnn_small", input_shape=(1, 3, 256, 256), classes=1000)
def transcnn_small(classes: int) -> nn.Module:
    """26 538 824 parameters for 1000 classes."""
    return transcnn(SMALL, classes)


@register_network("transcnn_medium", input_shape=(1, 3, 256, 256), classes=1000)
def transcnn_medium(classes: int) -> nn.Module:
    """48 322 504 parameters for 1000 classes."""
    return transcnn(MEDIUM, classes)


@register_network("transcnn_large", input_shape=(1, 3, 256, 256), classes=1000)
def transcnn_large(classes: int) -> nn.Module:
    """80 033 352 parameters for 1000 classes."""
    return transcnn(LARGE, classes)
