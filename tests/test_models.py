"""From a name to a module and its inputs, and every way in which a user can get it wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from advisor.errors import ModelError
from advisor.models import load_model, load_weights, parse_input, torchvision_names
from advisor.zoo import ZOO, Entry, register_network


def test_shapes_are_read() -> None:
    assert parse_input("1x3x224x224") == ((1, 3, 224, 224),)
    assert parse_input(" 1X3x8 , 5 ") == ((1, 3, 8), (5,))


@pytest.mark.parametrize("text", ["", "x", "1x", "0x3", "-1x3", "1.5x2", "axb", "1x3,", "1 x 3 x", "1e3x2", "²x2"])
def test_shapes_that_are_none(text: str) -> None:
    with pytest.raises(ModelError, match="write positive sizes joined by x"):
        parse_input(text)


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        ("torchvision:alexnet", (1, 3, 224, 224)),
        ("torchvision:inception_v3", (1, 3, 299, 299)),
        ("torchvision:lraspp_mobilenet_v3_large", (1, 3, 520, 520)),
        ("torchvision:r3d_18", (1, 3, 16, 112, 112)),
        ("zoo:digits_cnn", (1, 1, 40, 40)),
        ("tests.test_models:tiny", (1, 3, 224, 224)),
    ],
)
def test_each_source_brings_its_own_input(spec: str, shape: tuple[int, ...]) -> None:
    loaded = load_model(spec)
    assert loaded.name == spec
    assert all(parameter.is_meta for parameter in loaded.module.parameters())
    (example,) = loaded.example_inputs
    assert tuple(example.shape) == shape
    assert example.is_meta


def test_detectors_take_a_list_of_images() -> None:
    loaded = load_model("torchvision:ssdlite320_mobilenet_v3_large", input_text="1x3x96x128")
    ((image,),) = loaded.example_inputs
    assert tuple(image.shape) == (3, 96, 128)


def test_optical_flow_takes_two_images() -> None:
    assert [tuple(image.shape) for image in load_model("torchvision:raft_small").example_inputs] == [
        (1, 3, 128, 128)
    ] * 2


def test_real_weights_input_and_classes_on_request() -> None:
    loaded = load_model("zoo:digits_cnn", device="cpu", input_text="2x1x28x28", num_classes=3)
    assert loaded.module(loaded.example_inputs[0]).shape == (2, 3)


def test_a_seed_gives_the_same_weights_and_leaves_torchs_stream_alone() -> None:
    state = torch.random.get_rng_state()
    first, second = (load_model("zoo:digits_cnn", device="cpu", seed=3).module.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(state, torch.random.get_rng_state())


def test_timm_networks_bring_their_input() -> None:
    pytest.importorskip("timm")
    (example,) = load_model("timm:test_vit").example_inputs
    assert tuple(example.shape) == (1, 3, 160, 160)


def test_torchvision_names_leave_the_quantised_out() -> None:
    assert {"resnet50", "maskrcnn_resnet50_fpn", "raft_small", "swin3d_t"} <= set(torchvision_names())
    assert not any(name.startswith("quantized_") for name in torchvision_names())


def tiny() -> nn.Module:
    """A factory of this very module."""
    return nn.Conv2d(3, 4, 3)


def tiny_with_inputs() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    return nn.Bilinear(3, 4, 5), (torch.ones(2, 3), torch.ones(2, 4))


def tiny_with_a_shape() -> tuple[nn.Module, tuple[int, ...]]:
    return nn.Linear(3, 4), (7, 3)


class Stubborn(nn.Module):
    """A network whose constructor needs real numbers, and so cannot be built on the meta device."""

    def __init__(self) -> None:
        super().__init__()
        widths = [int(width) for width in torch.linspace(2, 4, 3)]
        self.layers = nn.Sequential(nn.Linear(widths[0], widths[1]), nn.Linear(widths[1], widths[2]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def not_a_module() -> int:
    return 3


def test_a_factory_may_bring_its_inputs() -> None:
    assert [tuple(t.shape) for t in load_model("tests.test_models:tiny_with_inputs").example_inputs] == [(2, 3), (2, 4)]
    assert tuple(load_model("tests.test_models:tiny_with_a_shape").example_inputs[0].shape) == (7, 3)
    wanted = load_model("tests.test_models:tiny_with_a_shape", input_text="9x3").example_inputs
    assert tuple(wanted[0].shape) == (9, 3)


def test_what_cannot_be_built_on_meta_is_built_for_real() -> None:
    loaded = load_model("tests.test_models:Stubborn", input_text="5x2")
    assert not any(parameter.is_meta for parameter in loaded.module.parameters())
    assert not loaded.example_inputs[0].is_meta


def test_a_file_is_a_source_and_its_neighbours_can_be_imported(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_net.py").write_text("WIDTH = 6\n")
    file = tmp_path / "my net.py"
    file.write_text(
        "from dataclasses import dataclass\nfrom torch import nn\nfrom neighbour_of_net import WIDTH\n"
        "@dataclass\nclass Sizes:\n    width: int = WIDTH\n"
        "def build():\n    return nn.Linear(3, Sizes().width)\n"
    )
    before = list(sys.path)
    assert load_model(f"{file}:build", input_text="1x3").module.weight.shape == (6, 3)
    assert sys.path == before


WRONG: dict[str, tuple[str, str]] = {
    "no source": ("resnet50", "model 'resnet50' has no source; write torchvision:NAME"),
    "no name": ("torchvision:", "has no source"),
    "unknown network": ("torchvision:resnet51", "unknown torchvision network 'resnet51'; did you mean"),
    "unknown zoo network": ("zoo:digit_cnn", "unknown zoo network 'digit_cnn'; did you mean 'digits_cnn'"),
    "unknown source": ("torchvison:resnet50", "no package 'torchvison' is installed; write torchvision:NAME"),
    "no identifier": ("a b:c", "has an unknown source 'a b'"),
    "unknown factory": ("tests.test_models:tinny", "unknown factory in tests.test_models 'tinny'; did you mean 'tiny'"),
    "not a module": ("tests.test_models:not_a_module", "the factory returned int; expected a torch.nn.Module"),
    "missing file": ("nowhere/net.py:build", "no file 'nowhere/net.py' here; check the path"),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_are_one_line(case: str) -> None:
    spec, message = WRONG[case]
    with pytest.raises(ModelError) as caught:
        load_model(spec)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_input_that_no_tensor_can_hold_is_one_line() -> None:
    for spec, text in (
        ("zoo:digits_cnn", "1x1x999999999x9999999999"),
        ("torchvision:ssd300_vgg16", "3x9999999999x9999999999"),
    ):
        with pytest.raises(ModelError, match="too large for a tensor; give a smaller shape") as caught:
            load_model(spec, input_text=text)
        assert "\n" not in str(caught.value)


FILES: dict[str, tuple[str, str]] = {
    "syntax": ("def build(:\n", "net.py:1: SyntaxError"),
    "raises": ("x = 1\nraise ValueError('first\\nsecond')\n", "net.py:2: ValueError: first second; mend it there"),
    "exits": ("import sys\nsys.exit(5)\n", "net.py:2: SystemExit: 5"),
    "factory exits": ("def build():\n    raise SystemExit(3)\n", "net.py:2: SystemExit: 3"),
    "factory raises": ("def build():\n    return {}['width']\n", "net.py:2: KeyError: 'width'"),
    "needs an argument": ("def build(width):\n    return width\n", "missing 1 required positional argument: 'width'"),
    "imports what is not there": ("import no_such_package\n", "ModuleNotFoundError: No module named 'no_such_package'"),
    "has no factory": ("x = 1\n", "unknown factory in"),
    "is binary": ("\0\0", "net.py"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_users_file_that_fails_is_one_line_with_the_place(case: str, tmp_path: Path) -> None:
    content, message = FILES[case]
    file = tmp_path / "net.py"
    file.write_text(content)
    with pytest.raises(ModelError) as caught:
        load_model(f"{file}:build")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_are_read_from_both_formats(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    source, target = nn.Linear(3, 4), nn.Linear(3, 4)
    torch.save({"state_dict": {f"module.{k}": v for k, v in source.state_dict().items()}}, tmp_path / "w.pt")
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    for name in ("w.pt", "w.safetensors"):
        nn.init.zeros_(target.weight)
        load_weights(target, tmp_path / name)
        assert torch.equal(target.weight, source.weight)


class Evil:
    """What a hostile file may hold."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("executed",))


def test_weights_that_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(Evil(), tmp_path / "evil.pt")
    torch.save(nn.Linear(5, 4).state_dict(), tmp_path / "other.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    (tmp_path / "broken.safetensors").write_bytes(b"\x09")
    for name, message in {
        "evil.pt": "cannot be read safely",
        "other.pt": "belong to another network: size mismatch for weight",
        "list.pt": "hold no state dict of tensors",
        "broken.safetensors": "cannot be read safely",
        "missing.pt": "no file",
    }.items():
        with pytest.raises(ModelError, match=message) as caught:
            load_weights(nn.Linear(3, 4), tmp_path / name)
        assert "\n" not in str(caught.value)
    assert "executed" not in capsys.readouterr().out


def test_two_networks_of_one_name_are_an_error() -> None:
    with pytest.raises(ValueError, match="two networks are called 'digits_cnn'"):
        register_network("digits_cnn", input_shape=(1,), classes=2)(lambda classes: nn.Linear(1, classes))
    assert isinstance(ZOO["digits_cnn"], Entry)
