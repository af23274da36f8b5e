"""A user's model file travels, and is itself where it already is."""

from pathlib import Path

import pytest

from advisor.errors import ModelError
from advisor.models import load_model
from advisor.sources import source_of

MODEL = "from torch import nn\nimport beside_me\n\ndef build():\n    return nn.Linear(beside_me.inputs, 2), (1, 3)\n"


@pytest.fixture
def model(tmp_path: Path) -> str:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "net.py").write_text(MODEL)
    (folder / "beside_me.py").write_text("inputs = 3\n")
    (folder / "data.bin").write_bytes(b"1234")
    return f"{folder / 'net.py'}:build"


@pytest.mark.parametrize("name", ["zoo:digits_cnn", "torchvision:resnet18", "package.module:factory"])
def test_a_package_does_not_travel(name: str, tmp_path: Path) -> None:
    source = source_of(name)
    assert not source.files
    assert source.here(tmp_path) == name


def test_the_file_itself_where_it_is_the_same(model: str, tmp_path: Path) -> None:
    assert source_of(model).here(tmp_path / "there") == model
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize("changed", [True, False])
def test_its_copy_where_it_is_another_or_none(model: str, changed: bool, tmp_path: Path) -> None:
    source = source_of(model)
    assert set(source.files) == {"net.py", "beside_me.py"}
    path = Path(model.partition(":")[0])
    if changed:
        path.write_text("raise RuntimeError")
    else:
        path.unlink()
    there = source.here(tmp_path / "there")
    assert there == f"{tmp_path / 'there' / 'net.py'}:build"
    assert load_model(there, device="cpu").module.in_features == 3  # type: ignore[union-attr]


def test_no_such_file() -> None:
    with pytest.raises(ModelError, match=r"no file 'nowhere/net\.py' here"):
        source_of("nowhere/net.py:build")


def test_too_much_beside_it(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("advisor.sources.MAX_BYTES", 50)
    with pytest.raises(ModelError, match="a folder of its own"):
        source_of(model)
