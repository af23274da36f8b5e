"""Data sets of torchvision by name. Nothing is downloaded unless the user asks for it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch

from advisor.errors import DataError
from validation.data.images import normalised
from validation.data.registry import DataSet, Request, register_data
from validation.data.stream import Stream

DEFAULT_FOLDER = Path("data")
# Channel means and spreads of ImageNet over 0..1 (torchvision's documentation of its weights), for trained weights
# expect their inputs scaled like this.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _classic(name: str, title: str, request: Request) -> DataSet:
    """A set that torchvision holds in memory as one array of bytes."""
    from torchvision import datasets

    factory = getattr(datasets, title)
    folder = request.folder or DEFAULT_FOLDER
    parts = []
    for training, size in ((True, request.train_size), (False, request.test_size)):
        load = partial(factory, root=str(folder), train=training, download=request.download)
        source = _found(name, folder, request.download, load)
        images = torch.as_tensor(source.data)
        images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)
        labels = torch.as_tensor(source.targets, dtype=torch.int64)
        rows = torch.from_numpy(Stream(0).order(len(labels)))[:size]
        parts.append((images[rows].contiguous(), labels[rows]))
        classes = len(source.classes)
    train, test = normalised(parts[0], parts[1])
    return DataSet(name=name, classes=classes, train=train, test=test)


def _found(name: str, folder: Path, download: bool, load: Callable[[], Any]) -> Any:
    """Loads, and turns whatever goes wrong (no files, no network, broken archives) into one line."""
    try:
        return load()
    except (RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:160]
        if download:
            raise DataError(
                f"data set {name!r} could not be downloaded to {folder}: {reason}; check the network, or put "
                f"torchvision's files for it into {folder} yourself (--data-dir names another folder)"
            ) from error
        raise DataError(
            f"data set {name!r} is not in {folder}: {reason}; add --download to fetch it, or put torchvision's files "
            "for it there (--data-dir names another folder), or try --data cluttered, which needs no download"
        ) from error


@register_data("cifar10", channels=3, classes=10, size=32, train_size=50_000, test_size=10_000, local=False)
def cifar10(request: Request) -> DataSet:
    """CIFAR-10 (Krizhevsky 2009), in torchvision's layout: FOLDER/cifar-10-batches-py."""
    return _classic("cifar10", "CIFAR10", request)


@register_data("cifar100", channels=3, classes=100, size=32, train_size=50_000, test_size=10_000, local=False)
def cifar100(request: Request) -> DataSet:
    """CIFAR-100 (Krizhevsky 2009), in torchvision's layout: FOLDER/cifar-100-python."""
    return _classic("cifar100", "CIFAR100", request)


@register_data("fashionmnist", channels=1, classes=10, size=28, train_size=60_000, test_size=10_000, local=False)
def fashionmnist(request: Request) -> DataSet:
    """Fashion-MNIST (Xiao et al. 2017), in torchvision's layout: FOLDER/FashionMNIST/raw."""
    return _classic("fashionmnist", "FashionMNIST", request)


class Files:
    """Pictures read from files when a batch asks for them; Pillow decodes without Python's lock, so threads help."""

    def __init__(self, source: Any, rows: torch.Tensor, shape: tuple[int, int, int]) -> None:
        """
        Args:
            source: a torchvision data set whose items are (tensor `C H W`, label).
            rows: `N`, which of its items.
        """
        self._source, self._rows, self._shape = source, rows, shape
        self._pool = ThreadPoolExecutor(max_workers=max(torch.get_num_threads(), 1))

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self._shape

    def batch(self, indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        items = list(self._pool.map(self._item, self._rows[indices].tolist()))
        return torch.stack([image for image, _ in items]), torch.tensor([label for _, label in items])

    def _item(self, row: int) -> tuple[torch.Tensor, int]:
        try:
            image, label = self._source[row]
        except (OSError, ValueError, SyntaxError) as error:
            path = self._source.samples[row][0]
            raise DataError(
                f"picture {path} cannot be read: {' '.join(str(error).split())[:120]}; remove it"
            ) from error
        return image, int(label)


@register_data("imagenet", channels=3, classes=None, size=None, smallest=8, local=False)
def imagenet(request: Request) -> DataSet:
    """Any folder of pictures laid out like ImageNet: FOLDER/train/CLASS/*.jpg and FOLDER/val/CLASS/*.jpg.

    The shorter side is scaled to 8/7 of the network's input and the middle is cut out, for training too: no random
    crops, so that every run sees the very same pixels.
    """
    from torchvision import datasets, transforms

    size = request.shape[1]
    prepare = transforms.Compose(
        [
            transforms.Resize(round(size * 8 / 7)),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    folder = request.folder
    if folder is None or request.download:
        what = "cannot be downloaded (its licence asks for an account)" if request.download else "needs a folder"
        raise DataError(
            f"data set 'imagenet' {what}; pass --data-dir FOLDER with pictures as FOLDER/train/CLASS/*.jpg "
            "and FOLDER/val/CLASS/*.jpg, or try --data cluttered, which needs no download"
        )
    sources, parts = {}, {}
    for part, asked in (("train", request.train_size), ("val", request.test_size)):
        place = folder / part
        try:
            source = datasets.ImageFolder(str(place), transform=prepare)
        except (OSError, RuntimeError) as error:
            raise DataError(
                f"data set 'imagenet': {' '.join(str(error).split())[:160]}; expected pictures as {place}/CLASS/*.jpg"
            ) from error
        if asked is not None and asked > len(source):
            raise DataError(f"data set 'imagenet' has {len(source)} pictures in {place}, got {asked}; ask for fewer")
        rows = torch.from_numpy(Stream(0).order(len(source)))[:asked]
        sources[part], parts[part] = source, Files(source, rows, request.shape)
    if sources["train"].classes != sources["val"].classes:
        first = sorted(set(sources["train"].classes) ^ set(sources["val"].classes))[0]
        raise DataError(
            f"data set 'imagenet': class {first!r} is in only one of {folder}/train and {folder}/val; make them alike"
        )
    return DataSet(name="imagenet", classes=len(sources["train"].classes), train=parts["train"], test=parts["val"])
