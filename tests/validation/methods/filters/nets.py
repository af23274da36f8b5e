"""Small networks in float64 with batch norms whose scales can be set to zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

IMAGE = (2, 3, 8, 8)


def dead(module: nn.Module, norms: Mapping[str, Sequence[int]], shift: float | None = None) -> nn.Module:
    """Sets scales of norms to zero, and their shifts to `shift` (None: what they are)."""
    with torch.no_grad():
        for name, channels in norms.items():
            norm = module.get_submodule(name)
            norm.weight[list(channels)] = 0
            if shift is not None:
                norm.bias[list(channels)] = shift
    return module


def ready(module: nn.Module) -> nn.Module:
    """In float64 and evaluation mode, every norm with statistics, scales and shifts of its own."""
    generator = torch.Generator().manual_seed(3)
    module = module.double().eval()
    with torch.no_grad():
        for child in module.modules():
            if isinstance(child, nn.BatchNorm2d):
                for tensor, low in ((child.weight, 0.5), (child.bias, -0.5), (child.running_mean, -0.5)):
                    tensor.copy_(torch.rand(tensor.shape, generator=generator, dtype=torch.float64) + low)
                child.running_var.copy_(torch.rand(child.running_var.shape, generator=generator).double() + 0.5)
    return module


def vgg() -> nn.Sequential:
    """Zero padding throughout: 0 conv, 1 norm, 3 conv, 4 norm, 7 conv, 8 norm, 12 linear."""
    torch.manual_seed(0)
    return ready(
        nn.Sequential(
            *(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.Conv2d(8, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(6, 5, 3, bias=False), nn.BatchNorm2d(5), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(20, 4)),
        )
    )  # type: ignore[return-value]


class Residual(nn.Module):
    """A stem, a block that adds to it, and a head: the stem's channels are tied to those of `b`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.a, self.norm_a = nn.Conv2d(8, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.b, self.norm_b = nn.Conv2d(6, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.last, self.head = nn.Conv2d(8, 5, 3, padding=1), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        x = (x + self.norm_b(self.b(self.norm_a(self.a(x)).relu()))).relu()
        out: Tensor = self.head(self.last(x).relu().mean((2, 3)))
        return out


class Dense(nn.Module):
    """Concatenation as in DenseNet: every layer reads all before it, through a norm of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.norm_a, self.a = nn.BatchNorm2d(6), nn.Conv2d(6, 4, 3, padding=1, bias=False)
        self.norm_b, self.b = nn.BatchNorm2d(10), nn.Conv2d(10, 4, 3, padding=1, bias=False)
        self.norm, self.head = nn.BatchNorm2d(14), nn.Linear(14, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.cat([x, self.a(self.norm_a(x).relu())], 1)
        x = torch.cat([x, self.b(self.norm_b(x).relu())], 1)
        out: Tensor = self.head(self.norm(x).relu().mean((2, 3)))
        return out


class Inception(nn.Module):
    """Three branches side by side, one pooled with padding."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.one, self.norm_one = nn.Conv2d(6, 4, 1), nn.BatchNorm2d(4)
        self.three, self.norm_three = nn.Conv2d(6, 5, 3, padding=1), nn.BatchNorm2d(5)
        self.pool, self.last = nn.AvgPool2d(3, stride=1, padding=1), nn.Conv2d(15, 4, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        x = torch.cat([self.norm_one(self.one(x)).relu(), self.norm_three(self.three(x)).relu(), self.pool(x)], 1)
        out: Tensor = self.last(x).flatten(1)
        return out


class Mobile(nn.Module):
    """An inverted bottleneck: depthwise between pointwise layers, with a gate of its own channels."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.norm_up = nn.Conv2d(3, 8, 1, bias=False), nn.BatchNorm2d(8)
        self.depth, self.norm_depth = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(8)
        self.squeeze, self.excite = nn.Conv2d(8, 3, 1), nn.Conv2d(3, 8, 1)
        self.down = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm_up(self.up(x)).relu()
        x = self.norm_depth(self.depth(x)).relu()
        gate = self.excite(self.squeeze(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
        out: Tensor = self.down(x * gate).mean((2, 3))
        return out


class Grouped(nn.Module):
    """A convolution of two groups, which keep equally many channels."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.b, self.norm_b, self.c = nn.Conv2d(8, 8, 3, groups=2, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.c(self.norm_b(self.b(self.norm(self.a(x)).relu())).relu()).mean((2, 3))
        return out


def built(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return ready(kind())
