"""Data sets: the same images everywhere, nothing shared between training and test, and one line for what is missing."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from advisor.errors import DataError
from validation.data import DATA, Request, load_data, suited
from validation.data.digits import clutter, mnist5k_digits, split
from validation.data.registry import image_shape, register_data
from validation.data.stream import Stream

SMALL = Request(shape=(1, 40, 40), train_size=64, test_size=32)


def test_a_seed_means_the_same_images_everywhere() -> None:
    data = load_data("cluttered", SMALL)
    pixels, labels = data.train.images, data.train.labels  # type: ignore[attr-defined]
    assert pixels.shape == (64, 1, 40, 40)
    assert pixels.dtype == torch.uint8
    digest = hashlib.sha256(pixels.numpy().tobytes() + labels.numpy().tobytes()).hexdigest()
    assert digest == "d5621d2b3fda64604cff31eaf23378119a6631f6cc6d22052ca1806d94e033bd"
    again = load_data("cluttered", SMALL)
    assert torch.equal(pixels, again.train.images)  # type: ignore[attr-defined]


def test_a_smaller_set_keeps_labels_balanced() -> None:
    """Each source digit appears as often as any other, so 4,000 canvases hold every training digit once."""
    digits = np.zeros((50, 28, 28), np.uint8)
    _, chosen = clutter(digits, count=125, size=28, seed=(0,))
    counts = np.bincount(chosen, minlength=50)
    assert set(counts) == {2, 3}
    assert sorted(chosen[:50]) == list(range(50))


def test_training_and_test_share_no_digit() -> None:
    _, labels = mnist5k_digits()
    train, test = split(labels, 1000)
    assert not set(train) & set(test)
    assert len(train) == 4000
    assert len(test) == 1000
    assert set(np.bincount(labels[test])) == {100}, "each class keeps its share"


def test_canvases_are_drawn_from_the_given_digits_alone() -> None:
    """Digits of one brightness make canvases of that brightness: nothing else can appear, in patches neither."""
    digits = np.zeros((10, 28, 28), np.uint8)
    digits[:, 4:24, 4:24] = 77
    canvas, _ = clutter(digits, count=30, size=40, seed=(1, 2))
    assert set(np.unique(canvas)) == {0, 77}
    plain, _ = clutter(digits, count=30, size=40, seed=(1, 2), patches=0)
    assert (canvas > 0).sum() > (plain > 0).sum(), "patches add ink"
    assert set((plain > 0).sum((1, 2))) == {400}, "the digit is whole"


def test_a_patch_never_comes_from_the_digit_itself() -> None:
    digits = np.stack([np.full((28, 28), value, np.uint8) for value in (10, 200)])
    canvas, chosen = clutter(digits, count=40, size=60, seed=(3,), patches=3)
    for picture, index in zip(canvas, chosen, strict=True):
        own, other = ((10, 200), (200, 10))[index]
        assert (picture == own).sum() <= 28 * 28
        assert (picture == other).any() or own == 200, "hidden only under a brighter digit"


def test_stream_is_numpys_raw_stream() -> None:
    raw = np.random.PCG64(np.random.SeedSequence((5, 6))).random_raw(4)
    expected = [int(value) >> 32 for value in raw]
    assert list(Stream(5, 6).below(2**32, 4)) == expected
    assert sorted(Stream(1).order(100)) == list(range(100))
    assert list(Stream(1).order(5)) != list(Stream(2).order(5)) or list(Stream(1).order(9)) != list(Stream(2).order(9))


def test_images_come_normalised_by_the_training_part() -> None:
    data = load_data("digits", Request(shape=(1, 8, 8)))
    assert (len(data.train), len(data.test)) == (1437, 360)
    pixels, labels = data.train.batch(torch.arange(len(data.train)))
    assert pixels.dtype == torch.float32
    assert labels.dtype == torch.int64
    assert float(pixels.mean()) == pytest.approx(0, abs=1e-4)
    assert float(pixels.std()) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("shape", "name"),
    [((1, 8, 8), "digits"), ((1, 28, 28), "mnist5k"), ((1, 40, 40), "cluttered"), ((3, 32, 32), "cifar10"),
     ((3, 224, 224), "imagenet")],
)  # fmt: skip
def test_the_input_names_its_data_set(shape: tuple[int, int, int], name: str) -> None:
    assert suited(shape) == name


MISTAKES = [
    ("clutered", SMALL, "did you mean 'cluttered'"),
    ("cifar10", Request(shape=(1, 32, 32)), "has 3 channels, the network takes 1"),
    ("cluttered", Request(shape=(1, 20, 20)), "28 pixels or more, the network takes 20x20"),
    ("cluttered", Request(shape=(1, 40, 30)), "square"),
    ("mnist5k", Request(shape=(1, 40, 40)), "images of 28x28, the network takes 40x40"),
    ("mnist5k", Request(shape=(1, 28, 28), train_size=4001), "4000 train images, got --train-size 4001"),
    ("digits", Request(shape=(1, 8, 8), test_size=999), "360 test images"),
    ("imagenet", Request(shape=(3, 64, 64)), "--data-dir"),
    ("imagenet", Request(shape=(3, 64, 64), folder=Path("x"), download=True), "licence"),
]


@pytest.mark.parametrize(("name", "request_", "said"), MISTAKES, ids=lambda value: str(value)[:24])
def test_what_does_not_fit_is_one_line(name: str, request_: Request, said: str) -> None:
    with pytest.raises(DataError, match=re.escape(said)) as raised:
        load_data(name, request_)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("shapes", [((1, 3, 8, 8), (1, 3, 8, 8)), ((1, 128),), ()])
def test_only_networks_of_images_are_trained(shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(DataError, match="one image input"):
        image_shape("net", shapes)


@pytest.mark.parametrize(
    ("name", "shape"), [("cifar10", (3, 32, 32)), ("cifar100", (3, 32, 32)), ("fashionmnist", (1, 28, 28))]
)
def test_nothing_is_downloaded_unasked(name: str, shape: tuple[int, int, int], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--download") as raised:
        load_data(name, Request(shape=shape, folder=tmp_path))
    assert str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_offline_download_says_what_and_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import urllib.error

    def offline(*arguments: object, **more: object) -> None:
        raise urllib.error.URLError("Temporary failure in name resolution")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", offline)
    with pytest.raises(DataError, match="could not be downloaded") as raised:
        load_data("cifar10", Request(shape=(3, 32, 32), folder=tmp_path, download=True))
    assert str(tmp_path) in str(raised.value)
    assert "name resolution" in str(raised.value)


def pictures(folder: Path, parts: dict[str, tuple[str, ...]]) -> None:
    from PIL import Image

    for part, classes in parts.items():
        for label in classes:
            (folder / part / label).mkdir(parents=True)
            for index in range(3):
                colour = (40 * index, 90, 200 if label == "cat" else 10)
                Image.new("RGB", (50, 40), colour).save(folder / part / label / f"{index}.png")


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    pictures(tmp_path, {"train": ("cat", "dog"), "val": ("cat", "dog")})
    data = load_data("imagenet", Request(shape=(3, 16, 16), folder=tmp_path, train_size=4))
    assert (data.classes, len(data.train), len(data.test)) == (2, 4, 6)
    images, labels = data.test.batch(torch.arange(6))
    assert images.shape == (6, 3, 16, 16)
    assert sorted(labels.tolist()) == [0, 0, 0, 1, 1, 1]
    blue = images[:, 2].mean((1, 2))
    assert bool((blue[labels == 0] > blue[labels == 1].max()).all()), "cats are the blue ones"


def test_folders_that_do_not_match(tmp_path: Path) -> None:
    pictures(tmp_path, {"train": ("cat", "dog"), "val": ("cat", "cow")})
    with pytest.raises(DataError, match="'cow' is in only one"):
        load_data("imagenet", Request(shape=(3, 16, 16), folder=tmp_path))
    with pytest.raises(DataError, match="CLASS"):
        load_data("imagenet", Request(shape=(3, 16, 16), folder=tmp_path / "none"))


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    pictures(tmp_path, {"train": ("cat",), "val": ("cat",)})
    (tmp_path / "val" / "cat" / "1.png").write_bytes(b"no picture")
    data = load_data("imagenet", Request(shape=(3, 16, 16), folder=tmp_path))
    with pytest.raises(DataError, match=r"1\.png"):
        data.test.batch(torch.arange(3))


def test_two_sets_of_one_name_are_refused() -> None:
    before = dict(DATA)
    with pytest.raises(ValueError, match="mnist5k"):
        register_data("mnist5k", channels=1, classes=10, size=28)(lambda request: None)  # type: ignore[arg-type, return-value]
    assert before == DATA


def test_grey_images_serve_a_network_of_colours() -> None:
    request = Request(shape=(3, 32, 32), train_size=8, test_size=4)
    colours, grey = load_data("cluttered", request), load_data("cluttered", replace(request, shape=(1, 32, 32)))
    assert colours.shape == (3, 32, 32)
    rows = torch.tensor([5, 0])
    pixels, labels = colours.train.batch(rows)
    single, same = grey.train.batch(rows)
    assert torch.equal(pixels, single.repeat(1, 3, 1, 1))
    assert torch.equal(labels, same)
    assert any("grey" in note for note in colours.notes)
