"""Training images as plain batches, for what looks at a network before anybody trains it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from advisor.errors import DataError
from advisor.network import Shape
from validation.data import Request, load_data
from validation.data.images import Images
from validation.data.registry import image_shape
from validation.data.stream import Stream

BATCH = 64


def labelled(
    name: str, shapes: tuple[Shape, ...], *, examples: int, seed: int = 0, folder: Path | None = None
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of up to 64 training images `B C H W` with labels `B`, drawn from `seed`; test images stay unseen.

    Args:
        name: of a data set.
        shapes: what the network takes.
        examples: how many images at most.
        seed: of their order.
        folder: where torchvision's sets lie.

    Raises:
        DataError: an unknown name, or images that do not fit or are not here.
    """
    if len(shapes) != 1 or len(shapes[0]) not in (3, 4):
        got = ", ".join("x".join(map(str, shape)) for shape in shapes) or "nothing"
        raise DataError(
            f"data set {name!r} has images, the network takes {got}; give data of your own: path/to/file.py:FACTORY"
        )
    yield from batches_of(
        load_data(name, Request(shape=image_shape(name, shapes), folder=folder)).train, examples, seed
    )


def batches_of(images: Images, examples: int, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """As `labelled`, of images at hand."""
    order = torch.from_numpy(Stream(seed).order(len(images)))[:examples]
    for start in range(0, len(order), BATCH):
        yield images.batch(order[start : start + BATCH])
