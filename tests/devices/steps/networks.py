"""Small networks of many kinds, and both ways to find the steps of one."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advisor.devices.inplace.stopwatch import described
from advisor.devices.measuring.subject import forward_call, training_call
from advisor.devices.steps.record import Recording, record_steps
from advisor.devices.steps.step import Step


class Listed(nn.Module):
    """A list of images of two sizes and a factor in a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, images: list[Tensor], factors: dict[str, Tensor]) -> list[Tensor]:
        return [self.conv(image).mean((2, 3)) * factors["scale"] for image in images]


class InPlace(nn.Module):
    """Writes into what it has made, and into a part of it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Any:
        out = self.act(self.norm(self.conv(x)))
        out = out * 2.0
        out += 1.0
        out[:, :4].add_(2.0)
        return out.clamp_(max=3.0)


class Turned(nn.Module):
    """Layers that are no 2d convolution, on layouts that are not contiguous."""

    def __init__(self) -> None:
        super().__init__()
        self.line, self.up = nn.Conv1d(8, 12, 5, 2, 2, groups=4), nn.ConvTranspose2d(3, 4, 3, 2, 1, 1)
        self.cube, self.flat = nn.Conv3d(2, 4, (1, 3, 3), bias=False), nn.Linear(12, 7, bias=False)

    def forward(self, x: Tensor) -> Any:
        grown = F.interpolate(self.up(x), scale_factor=2.0)
        cube = self.cube(grown.view(grown.shape[0], 2, 2, *grown.shape[2:])).mean((2, 3, 4))
        line = self.line(grown[:, :, :8].flatten(2).repeat(1, 2, 1)).transpose(1, 2)
        return self.flat(line).sum(1), cube


class Repeated(nn.Module):
    """One layer called twice, batch norm, dropout, pooling of both kinds, embedding and softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.conv, self.norm = nn.Embedding(10, 16), nn.Conv2d(1, 1, 3, padding=1), nn.BatchNorm2d(1)
        self.drop = nn.Dropout(0.1)

    def forward(self, tokens: Tensor) -> Any:
        x = self.words(tokens)[:, None]
        x = F.gelu(self.norm(self.conv(self.conv(x))))
        x = F.avg_pool2d(F.max_pool2d(x, 2), (1, 2))
        return self.drop(x).flatten(1).softmax(-1)


def networks() -> dict[str, tuple[nn.Module, tuple[Any, ...]]]:
    attention: Any = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0)
    return {
        "list": (Listed(), ([torch.randn(1, 3, 9, 9), torch.randn(2, 3, 7, 7)], {"scale": torch.randn(8)})),
        "in place": (InPlace(), (torch.randn(2, 3, 8, 8),)),
        "turned": (Turned(), (torch.randn(2, 3, 8, 8),)),
        "repeated": (Repeated(), (torch.arange(16).view(2, 8) % 10,)),
        "attention": (attention, (torch.randn(2, 5, 16),)),
    }


def both(
    module: nn.Module, inputs: tuple[Any, ...], *, training: bool = False, optimizer: bool = False
) -> tuple[Recording, Recording]:
    """The steps on fake tensors, and those of the real run."""
    if training:
        call = training_call(module.train(), inputs, optimizer=optimizer)
        call()  # gradients and the optimiser's state exist from the second step on
    else:
        call = forward_call(module.eval(), inputs)
    return record_steps(module, inputs, training=training, optimizer=optimizer), described(call, module)


def steps_of(module: nn.Module, *inputs: Tensor) -> tuple[Step, ...]:
    """Of one inference, on fake tensors."""
    return record_steps(module.eval(), inputs).steps
