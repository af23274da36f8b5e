"""`--data`: data sets by name, and functions of the user's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from advisor.errors import DataError
from advisor.examples import named
from advisor.examples.named import named_data
from validation.data import load_data
from validation.data.registry import Request

FILE = """
import torch
import torch.nn.functional as F

def pairs():
    return torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64)

def with_loss():
    return [(torch.zeros(4, 3), torch.zeros(4, 3))], F.mse_loss

def broken():
    return 1 / 0

def nothing():
    return None
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "data.py"
    path.write_text(FILE)
    return str(path)


def test_a_data_set_gives_training_images_in_a_seeds_order() -> None:
    shapes = ((1, 1, 8, 8),)
    found = named_data("digits", shapes, examples=100, seed=1)
    assert [batch.size for batch in found.batches] == [64, 36]
    train = load_data("digits", Request(shape=(1, 8, 8))).train
    images, _ = train.batch(torch.arange(len(train)))
    rows = {tuple(image.ravel().tolist()) for image in images}
    assert all(tuple(image.ravel().tolist()) in rows for image in found.batches[0].args[0])
    again = named_data("digits", shapes, examples=100, seed=1)
    assert torch.equal(found.batches[1].args[0], again.batches[1].args[0])
    other = named_data("digits", shapes, examples=100, seed=2)
    assert not torch.equal(found.batches[0].args[0], other.batches[0].args[0])
    assert len(named_data("digits", shapes, examples=10).batches[0].targets) == 10


def test_functions_of_the_users_own(file: str) -> None:
    assert named_data(f"{file}:pairs", (), examples=3).examples == 3
    assert named_data(f"{file}:with_loss", (), examples=9).loss is F.mse_loss


@pytest.mark.parametrize(
    ("text", "shapes", "says"),
    [
        ("digitz", ((1, 1, 8, 8),), "unknown data set 'digitz'; did you mean 'digits'"),
        ("digits", ((1, 1, 9, 9),), "has images of 8x8, the network takes 9x9"),
        ("digits", ((1, 16),), "has images, the network takes 1x16; give data of your own"),
        ("{file}:broken", (), "failed at"),
        ("{file}:nothing", (), "got NoneType; expected batches"),
        ("{file}:absent", (), "unknown factory in"),
        ("no/such/file.py:x", (), "no file 'no/such/file.py' here"),
        ("no_such_package:x", (), "no package 'no_such_package' is installed"),
    ],
)
def test_mistakes_are_one_line(file: str, text: str, shapes: tuple[tuple[int, ...], ...], says: str) -> None:
    with pytest.raises(DataError) as error:
        named_data(text.replace("{file}", file), shapes, examples=8)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert "model" not in str(error.value)


def test_without_data_sets_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named, "entry_points", lambda group: [])
    with pytest.raises(DataError, match="no data sets are installed; reinstall the package"):
        named_data("digits", ((1, 1, 8, 8),), examples=8)
