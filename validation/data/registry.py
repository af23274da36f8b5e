"""Which data sets there are, and which one suits a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from advisor.errors import DataError, unknown
from advisor.network import Shape
from validation.data.images import Grey, Images


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a user asks of a data set. Sizes of None are the data set's own."""

    shape: tuple[int, int, int]  # C H W that the network takes
    train_size: int | None = None
    test_size: int | None = None
    seed: int = 0
    folder: Path | None = None  # where torchvision's sets lie
    download: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """Training and test images that share no source."""

    name: str
    classes: int
    train: Images
    test: Images
    notes: tuple[str, ...] = field(default=())

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.train.shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """How to get a data set, and what it can be.

    `sizes` None: drawn or scaled to any square size from `smallest` on; otherwise the only H W it has.
    """

    load: Callable[[Request], DataSet]
    channels: int
    classes: int | None  # None: as many as the folder has
    size: int | None
    smallest: int = 1
    train_size: int | None = None  # how many images there are; None: any number
    test_size: int | None = None
    local: bool = True  # needs no download


DATA: dict[str, Entry] = {}
Loader = Callable[[Request], DataSet]


def register_data(
    name: str,
    *,
    channels: int,
    classes: int | None,
    size: int | None,
    smallest: int = 1,
    train_size: int | None = None,
    test_size: int | None = None,
    local: bool = True,
) -> Callable[[Loader], Loader]:
    """Puts a loader into the registry under `name`."""

    def register(load: Loader) -> Loader:
        if name in DATA:
            raise ValueError(f"two data sets are called {name!r}")
        DATA[name] = Entry(
            load=load,
            channels=channels,
            classes=classes,
            size=size,
            smallest=smallest,
            train_size=train_size,
            test_size=test_size,
            local=local,
        )
        return load

    return register


def image_shape(name: str, shapes: tuple[Shape, ...]) -> tuple[int, int, int]:
    """C H W of a network's one input of images.

    Raises:
        DataError: it takes several inputs, or something that is no batch of images.
    """
    if len(shapes) != 1 or len(shapes[0]) not in (3, 4):
        got = ", ".join("x".join(map(str, shape)) for shape in shapes) or "nothing"
        raise DataError(
            f"network {name} takes {got}; validate trains networks of one image input such as 1x3x224x224; "
            "write a factory that takes images alone"
        )
    channels, height, width = shapes[0][-3:]
    return channels, height, width


def suited(shape: tuple[int, int, int]) -> str:
    """The data set that a network of this input is trained on when the user names none.

    Raises:
        DataError: nothing suits.
    """
    channels, height, width = shape
    if height == width and channels == 1:
        return {8: "digits", 28: "mnist5k"}.get(height, "cluttered")
    if height == width and channels == 3:
        return "cifar10" if height == 32 else "imagenet"
    raise DataError(
        f"no data set suits an input of {channels}x{height}x{width} (channels x height x width); "
        f"expected square images of 1 or 3 channels; known: {', '.join(sorted(DATA))}"
    )


def load_data(name: str, request: Request) -> DataSet:
    """Loads a data set for a network, after checking that they fit. Grey images also serve a network of colours.

    Raises:
        DataError: unknown name, images of another shape than the network takes, more images asked than there are,
            or files that are not here.
    """
    if name not in DATA:
        raise DataError(unknown("data set", name, DATA))
    entry = DATA[name]
    channels, height, width = request.shape
    grey = entry.channels == 1 and channels > 1
    if channels != entry.channels and not grey:
        raise DataError(
            f"data set {name!r} has {entry.channels} channel{'s' if entry.channels > 1 else ''}, the network takes "
            f"{channels}; choose other data with --data, or make the plan with --input 1x{entry.channels}xHxW"
        )
    if entry.size is not None and (height, width) != (entry.size, entry.size):
        raise DataError(
            f"data set {name!r} has images of {entry.size}x{entry.size}, the network takes {height}x{width}; "
            f"choose other data, or make the plan with --input 1x{entry.channels}x{entry.size}x{entry.size}"
        )
    if entry.size is None and (height != width or height < entry.smallest):
        raise DataError(
            f"data set {name!r} makes square images of {entry.smallest} pixels or more, the network takes "
            f"{height}x{width}; choose other data, or make the plan with another --input"
        )
    for what, asked, there in (
        ("train", request.train_size, entry.train_size),
        ("test", request.test_size, entry.test_size),
    ):
        if asked is not None and there is not None and asked > there:
            raise DataError(f"data set {name!r} has {there} {what} images, got --{what}-size {asked}; ask for fewer")
    if not grey:
        return entry.load(request)
    found = entry.load(replace(request, shape=(1, height, width)))
    return replace(
        found,
        train=Grey(found.train, channels),
        test=Grey(found.test, channels),
        notes=(*found.notes, f"{name} is grey: its one channel stands in all {channels} of the network's"),
    )
