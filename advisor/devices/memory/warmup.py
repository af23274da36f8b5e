"""What a process takes for computing at all, taken before anything is measured.

The first matrix product, the first convolution and the first step of an optimiser start threads, allocate the buffers
that MKL keeps (some 4 MB a thread) and read the pages of the libraries. That is a cost of the process, not of a
network: a receipt says how much it was (`process_bytes`).
"""

from __future__ import annotations

import torch
from torch import nn

from advisor.devices.memory.steps import Step


def tiny_network() -> nn.Module:
    """Of each family of operators one, and products as large as MKL's buffers."""
    return nn.Sequential(
        nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 32, 1),
        nn.Conv2d(32, 32, 3, padding=1, stride=2, groups=32),
        nn.MaxPool2d(2),
        nn.Flatten(2),
        nn.Linear(14 * 14, 1024),
        nn.LayerNorm(1024),
        nn.TransformerEncoderLayer(1024, 8, 2048, dropout=0.0, batch_first=True, activation="gelu"),
        nn.Linear(1024, 1024),
    )


def warm_up(*, training: bool, optimizer: str | None) -> None:
    """Runs the tiny network twice, as the real one will be run."""
    module, inputs = tiny_network(), torch.zeros(16, 16, 56, 56)
    step = Step(module, (inputs,), training=training, optimizer=optimizer, device="cpu")
    for _ in range(2):
        step()
    with torch.set_grad_enabled(training):
        # MKL has several ways through a product, each with buffers of its own: wide ones, and the narrow ones of 1x1
        # layers, which torch runs as products of one image where there is one thread.
        products = [torch.zeros(512, 2048, requires_grad=training) @ torch.zeros(2048, 2048)]
        for inputs_, outputs, size in ((64, 256, 56), (256, 64, 56), (32, 16, 112), (16, 96, 112)):
            image = torch.zeros(1, inputs_, size, size, requires_grad=training)
            products.append(nn.Conv2d(inputs_, outputs, 1)(image))
        if training:
            torch.stack([product.sum() for product in products]).sum().backward()  # type: ignore[no-untyped-call]


def cushion() -> list[bytes]:
    """Room for Python's small objects, taken before anything is measured; hold on to what it returns.

    Python takes memory from the system a megabyte at a time and seldom gives any back, so that a network's modules and
    graphs, a few hundred KB, would show as whole megabytes, or not at all. With room left over they never show.
    """
    objects = [bytes(440) for _ in range(32_000)]
    return objects[::1_000]
