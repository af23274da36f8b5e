"""`advisor analyze` as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from advisor.cli import run


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert run(["analyze", *arguments, "--json"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_the_documents_keys_and_integers(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "torchvision:alexnet")
    assert (found["params"], found["macs"]) == (61_100_840, 714_188_480)
    assert found["activation_elements"] == 64 * 55 * 55 + 192 * 27 * 27 + (384 + 2 * 256) * 13 * 13 + 2 * 4096 + 1000
    assert found["peak_activation_bytes"] == 4 * (3 * 224 * 224 + 64 * 55 * 55)
    assert found["unsupported_ops"] == {}
    assert (found["model"], found["input"], found["origin"]) == ("torchvision:alexnet", [[1, 3, 224, 224]], "export")
    assert len(found["layers"]) == 8
    first = found["layers"][0]
    assert {key: first[key] for key in ("name", "kind", "params", "macs", "input_shape", "output_shape")} == {
        "name": "features.0",
        "kind": "conv2d",
        "params": 64 * 363 + 64,
        "macs": 64 * 55 * 55 * 363,
        "input_shape": [1, 3, 224, 224],
        "output_shape": [1, 64, 55, 55],
    }
    assert sum(layer["macs"] for layer in found["layers"]) == found["macs"]
    assert sum(layer["params"] for layer in found["layers"]) + found["unreached_params"] == found["params"]


def test_batch_and_size_scale(capsys: pytest.CaptureFixture[str]) -> None:
    one = document(capsys, "zoo:digits_cnn")
    eight = document(capsys, "zoo:digits_cnn", "--input", "8x1x40x40")
    assert eight["macs"] == 8 * one["macs"]
    assert eight["peak_activation_bytes"] == 8 * one["peak_activation_bytes"]
    assert eight["params"] == one["params"]


def test_the_table_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["analyze", "zoo:digits_cnn"]) == 0
    out = capsys.readouterr().out
    assert "classifier" in out
    assert "zoo:digits_cnn  input 1x1x40x40" in out
    assert "NOT COUNTED" not in out


def test_the_table_says_what_was_not_counted(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    file.write_text(
        "import torch\nclass Net(torch.nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.spare = torch.nn.Linear(2, 2)\n"
        "    def forward(self, x):\n        return torch.fft.rfft(x)\n"
    )
    assert run(["analyze", f"{file}:Net", "--input", "4x8"]) == 0
    out = capsys.readouterr().out
    assert "NOT COUNTED: aten.fft_rfft x1" in out
    assert "6  parameters that this run did not touch" in out


def test_cross_check(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "zoo:digits_cnn", "--cross-check")["cross_check"]
    assert {counter["name"]: counter["difference"] for counter in found["counters"]} == {"fvcore": 0, "torch": 0}
    assert {row["module"] for row in found["modules"]} >= {"features.0", "classifier"}
    assert run(["analyze", "zoo:digits_cnn", "--cross-check"]) == 0
    assert "5 of 5 modules with products agree" in capsys.readouterr().out


def test_a_network_that_chooses_its_way_is_built_for_real_and_recorded(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "net.py"
    file.write_text(
        "import torch\nclass Net(torch.nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        "        self.a, self.b = torch.nn.Linear(4, 4), torch.nn.Linear(4, 8)\n"
        "    def forward(self, x):\n        print('noise')\n        return self.a(x) if x.sum() > 0 else self.b(x)\n"
    )
    found = document(capsys, f"{file}:Net", "--input", "2x4")
    assert (found["origin"], found["macs"], found["unreached_params"]) == ("recorded", 64, 20)
    assert "this very input" in found["notes"][0]


NETS = """
from torch import nn
def linear(): return nn.Linear(4, 4)
def number(): return 3
def fails(): return 1 / 0
def breaks(): return Broken()
class Broken(nn.Module):
    def forward(self, x): raise RuntimeError("two\\nlines")
"""

MISTAKES: dict[str, tuple[list[str], str]] = {
    "unknown network": (["torchvision:resnet5"], "unknown torchvision network 'resnet5'; did you mean"),
    "no source": (["resnet50"], "has no source; write torchvision:NAME"),
    "channels": (["torchvision:resnet18", "--input", "1x4x64x64"], "does not run on input [(1, 4, 64, 64)]"),
    "too small": (["torchvision:alexnet", "--input", "1x3x20x20"], "Output size is too small; check the input"),
    "too few axes": (["zoo:digits_cnn", "--input", "40"], "does not run on input [(40,)]"),
    "too many inputs": (["zoo:digits_cnn", "--input", "1x1x40x40,3"], "does not run on input"),
    "garbage input": (["zoo:digits_cnn", "--input", "big"], "input 'big' is no shape"),
    "zero": (["zoo:digits_cnn", "--input", "0x1x40x40"], "input '0x1x40x40' is no shape"),
    "missing file": (["{folder}/none.py:build"], "check the path"),
    "a folder": (["{folder}:build"], "write torchvision:NAME"),
    "no such factory": (["{folder}/nets.py:liner"], "did you mean 'linear'"),
    "no module": (["{folder}/nets.py:number"], "the factory returned int; expected a torch.nn.Module"),
    "factory fails": (["{folder}/nets.py:fails"], "nets.py:5: ZeroDivisionError: division by zero; mend it there"),
    "forward fails": (["{folder}/nets.py:breaks"], "RuntimeError: two lines; check the input"),
    "syntax": (["{folder}/syntax.py:build"], "syntax.py:1: SyntaxError"),
    "no model": ([], "Missing argument 'MODEL'"),
    "unknown option": (["zoo:digits_cnn", "--batch", "3"], "No such option"),
}


@pytest.mark.parametrize("flags", [[], ["--json"]], ids=["text", "json"])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_status_2(
    mistake: str, flags: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "syntax.py").write_text("def build(:\n")
    arguments, message = MISTAKES[mistake]
    assert run(["analyze", *[a.replace("{folder}", str(tmp_path)) for a in arguments], *flags]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("advisor: error: ")
    assert err.count("\n") == 1
    assert message in err


def test_standard_output_holds_one_document_and_nothing_else() -> None:
    command = [sys.executable, "-m", "advisor.cli", "analyze", "zoo:digits_cnn", "--json"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0
    assert json.loads(result.stdout)["params"] > 0
    assert result.stderr == ""


@pytest.mark.usefixtures("with_kernels")
def test_which_sparse_kernels_would_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert document(capsys, "zoo:digits_cnn")["kernels"] == {
        "available": True,
        "isa": "test",
        "why_not": "",
        "instead": "",
    }
    assert run(["analyze", "zoo:digits_cnn"]) == 0
    assert capsys.readouterr().out.rstrip().endswith("sparse kernels: test")


def test_why_none_would_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert document(capsys, "zoo:digits_cnn")["kernels"]["why_not"] == "switched off by a test"
    assert run(["analyze", "zoo:digits_cnn"]) == 0
    assert "sparse kernels: none, switched off by a test" in capsys.readouterr().out
