"""`advisor reconstruct`: from a plan and trained weights to weights that load again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import advisor
from advisor.cli import run
from advisor.models import load_weights
from advisor.plans.plan import load_plan
from tests.refitting.test_rebuild import Net, images, made

HERE = Path(__file__).parent.parent / "refitting" / "test_rebuild.py"
MODEL = [f"{HERE}:Net", "--input", "2x4x8x8"]


@pytest.fixture
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with a trained network's weights, a plan for it, and a function that gives data."""
    model, plan, _ = made(getattr(request, "param", ("channel",)))
    torch.save(model.state_dict(), tmp_path / "net.pt")
    plan.save(tmp_path / "plan.json")
    (tmp_path / "data.py").write_text(
        "import torch\nfrom tests.refitting.test_rebuild import images\n"
        "def batches():\n    x = images()\n    return [(x, torch.zeros(len(x), dtype=torch.long))]\n"
    )
    return tmp_path


def ask(folder: Path, *more: str, out: str = "thin.safetensors") -> list[str]:
    given = ["--weights", str(folder / "net.pt"), "--plan", str(folder / "plan.json"), "--out", str(folder / out)]
    return ["reconstruct", *MODEL, *given, "--data", f"{folder / 'data.py'}:batches", *more]


@pytest.mark.parametrize("files", [("channel",), ("width",), ("width", "channel")], indirect=True)
def test_weights_load_again_and_are_those_of_the_library(files: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(ask(files, "--json")) == 0
    document = json.loads(capfd.readouterr().out)
    assert all(item["after"] <= item["before"] for item in document["errors"].values())
    assert any(item["after"] < 0.9 * item["before"] for item in document["errors"].values())
    plan, model = load_plan(files / "plan.json"), Net().eval()
    load_weights(model, files / "net.pt")
    wanted = advisor.reconstruct(plan, model, [(images(), torch.zeros(32, dtype=torch.long))]).eval()
    narrowed = any(layer.is_narrowed for layer in plan.layers)
    again = plan.apply(Net()).eval() if narrowed else Net().eval()
    load_weights(again, files / "thin.safetensors")
    torch.testing.assert_close(again(images()), wanted(images()), rtol=1e-4, atol=1e-5)
    if not narrowed:
        held = load_file(files / "thin.safetensors")
        masks = plan.masks()
        assert all(not held[layer.weight][~masks[layer.name]].any() for layer in plan.layers)
        applied = plan.apply(again).eval()
        torch.testing.assert_close(applied(images()), wanted(images()), rtol=1e-4, atol=1e-5)


def test_the_table_and_norms_left_alone(files: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(ask(files, "--keep-norms")) == 0
    text = capfd.readouterr().out
    assert text.splitlines()[0].split() == ["layer", "error", "before", "after"]
    assert "batch norms measured anew" not in text
    before = torch.load(files / "net.pt", weights_only=True)["norm.running_mean"]
    assert torch.equal(load_file(files / "thin.safetensors")["norm.running_mean"], before)
    assert run(ask(files)) == 0
    assert "1 batch norms measured anew" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"--out": "no/such/x.safetensors"}, "--out no/such/x.safetensors: expected a file name in an existing folder"),
        ({"--out": "x.pt"}, "ends with .safetensors"),
        ({"--plan": "none.json"}, "none.json: no such file"),
        ({"--weights": "none.pt"}, "no file 'none.pt' here"),
        ({"--data": "none"}, "unknown data set 'none'"),
        ({"--ridge": "0"}, "Invalid value for '--ridge'"),
    ],
)
def test_mistakes(change: dict[str, str], reason: str, files: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ask(files)
    for name, value in change.items():
        arguments = [*arguments, name, value]  # the last one counts
    assert run(arguments) == 2
    out, error = capfd.readouterr()
    assert out == ""
    assert reason in error
    assert error.count("\n") == 1
    assert not (files / "thin.safetensors").exists()


def test_random_weights_are_nothing_to_reconstruct(files: Path, capfd: pytest.CaptureFixture[str]) -> None:
    plan, out = str(files / "plan.json"), str(files / "x.safetensors")
    assert run(["reconstruct", "zoo:digits_cnn", "--plan", plan, "--data", "digits", "--out", out]) == 2
    assert "comes without trained weights" in capfd.readouterr().err
    given = ["--plan", plan, "--data", f"{files / 'data.py'}:batches", "--out", out]
    assert run(["reconstruct", *MODEL, *given]) == 2
    assert "norms were never trained" in capfd.readouterr().err
