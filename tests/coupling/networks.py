"""Five-line networks, one for each way in which channels meet."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from advisor.network import Network
from advisor.trace import analyze


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 24, 3, padding=1)
        self.norm, self.c = nn.BatchNorm2d(24), nn.Conv2d(24, 16, 1, bias=False)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x))
        x = x + self.c(F.relu(self.norm(self.b(x))))
        return self.head(F.relu(x).mean((2, 3)))


class Concat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 12, 3), nn.Conv2d(3, 20, 3)
        self.norm, self.c = nn.BatchNorm2d(32), nn.Conv2d(32, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(F.relu(self.norm(torch.cat([self.a(x), self.b(x)], 1))))


class Split(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 32, 3), nn.Conv2d(16, 16, 1), nn.Conv2d(32, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.a(x).relu().chunk(2, 1)
        return self.c(torch.cat([left, self.b(right).relu()], 1))


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 16), nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.b(self.a(x).relu()).relu()).relu())


class Grouped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 32, 3, groups=4, padding=1)
        self.norm, self.c = nn.BatchNorm2d(32), nn.Conv2d(32, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.norm(self.b(self.a(x).relu())).relu())


class Depthwise(nn.Module):
    def __init__(self, multiplier: int = 1) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 16, 1)
        self.b = nn.Conv2d(16, 16 * multiplier, 3, groups=16, padding=1)
        self.c = nn.Conv2d(16 * multiplier, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.a(x).relu()).relu())


class Flatten(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 12, 3), nn.Linear(12 * 4 * 4, 10), nn.Linear(10, 4)
        self.pool = nn.AdaptiveAvgPool2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(torch.flatten(self.pool(self.a(x)).relu(), 1)).relu())


class Reshape(nn.Module):
    """The number of channels is written into a view: nothing here can be narrowed but the last hidden layer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 16, 1), nn.Linear(16, 12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x).view(x.shape[0], 16, -1).transpose(1, 2)
        return self.c(self.b(x).relu())


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.a, self.b = nn.Embedding(20, 16), nn.Linear(16, 24), nn.Linear(24, 16)
        self.head = nn.Linear(16, 20, bias=False)
        self.head.weight = self.words.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.words(x)
        return self.head(x + self.b(self.a(x).relu()))


class Shuffle(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 32, 1), nn.Conv2d(32, 32, 1, groups=2), nn.Conv2d(32, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(self.a(x).relu())
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.c(x.relu())


class Excite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.down, self.up = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1)
        self.c = nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x).relu_()
        return self.c(x * self.up(self.down(x.mean((2, 3), keepdim=True)).relu()).sigmoid())


class Transposed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 1), nn.ConvTranspose2d(16, 12, 2, stride=2)
        self.slope, self.c = nn.PReLU(12), nn.ConvTranspose2d(12, 12, 2, stride=2, groups=3)
        self.d = nn.Conv2d(12, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.d(self.c(self.slope(self.b(self.a(x).relu()))).relu())


class Pixels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 32, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(F.pixel_shuffle(self.a(x), 2).relu())


class Branching(nn.Module):
    """Control flow that depends on the data: such a network is recorded, not exported."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 16), nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x).relu_()
        if float(x.sum()) >= 0:
            x = x + self.b(x).relu_()
        return self.c(x)


class Spread(nn.Module):
    """A gate of one channel, spread over all."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.gate, self.b = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 1, 1), nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x).relu()
        return self.b(x * self.gate(x).expand_as(x))


class HardSlice(nn.Module):
    """Runs with 16 of 32 channels, but then `right` would be empty and `left` everything: only a walk can tell."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 32, 1), nn.Conv2d(16, 8, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        return self.c(self.b(x[:, -16:]).relu()) + x.mean()


IMAGE = (2, 3, 8, 8)
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "residual": (Residual, IMAGE),
    "concat": (Concat, IMAGE),
    "split": (Split, IMAGE),
    "shared": (Shared, (2, 6)),
    "grouped": (Grouped, IMAGE),
    "depthwise": (Depthwise, IMAGE),
    "depthwise multiplier": (lambda: Depthwise(2), IMAGE),
    "flatten": (Flatten, IMAGE),
    "reshape": (Reshape, IMAGE),
    "tied": (Tied, (2, 5)),
    "shuffle": (Shuffle, IMAGE),
    "excite": (Excite, IMAGE),
    "transposed": (Transposed, IMAGE),
    "pixels": (Pixels, IMAGE),
    "branching": (Branching, (2, 6)),
    "spread": (Spread, IMAGE),
    "hard slice": (HardSlice, IMAGE),
}


def example(name: str) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = NETWORKS[name][1]
    if name == "tied":
        return torch.randint(20, shape, generator=generator)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def build(name: str) -> Network:
    """The network with fixed random weights in float64, norms included, analysed."""
    torch.manual_seed(1)
    module = NETWORKS[name][0]().double().eval()
    randomise(module)
    return analyze(module, example(name), name=name)


def randomise(module: nn.Module) -> None:
    """Gives norms statistics and scales of their own, so that a wrong cut shows."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.dtype.is_floating_point and tensor.dim() == 1:
                tensor.copy_(torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype) + 0.5)
