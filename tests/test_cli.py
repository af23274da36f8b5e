"""The command line as a stranger meets it: help, one document on standard output, and one line for every mistake."""

import json
from pathlib import Path

import pytest

from advisor.cli import COMMANDS, PLUGINS, run

RAISES = "def build():\n    raise RuntimeError('no weights\\nhere')\n"
NO_MODULE = "def build():\n    return 3\n"
BROKEN = "def build(:\n"
STOPS = """
import torch

class Stop(torch.nn.Module):
    def forward(self, x):
        raise KeyboardInterrupt

def build():
    return Stop()
"""
CHATTY = """
import torch
print("loading")

def build():
    print("building")
    return torch.nn.Linear(4, 2), (1, 4)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, text in (("raises", RAISES), ("nothing", NO_MODULE), ("broken", BROKEN), ("stops", STOPS)):
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "half.json").write_text('{"schema": "sparsity-advisor/plan-1", "layers": [')
    (tmp_path / "empty.json").write_text("")
    (tmp_path / "list.json").write_text("[" * 5000)
    return tmp_path


@pytest.mark.parametrize("command", [*COMMANDS, *PLUGINS])
def test_every_command_explains_itself_with_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert "Usage" in text
    assert "Examples" in text or command == "app"
    assert f"advisor {command}" in text


MISTAKES: dict[str, tuple[list[str], str]] = {
    "command": (["analyse", "zoo:digits_cnn"], "did you mean 'analyze'"),
    "model without source": (["analyze", "resnet50"], "torchvision:NAME"),
    "torchvision name": (["analyze", "torchvision:resnet51"], "resnet50"),
    "timm name": (["analyze", "timm:resnet51x"], "timm network"),
    "zoo name": (["analyze", "zoo:digit_cnn"], "digits_cnn"),
    "missing file": (["analyze", "nowhere.py:build"], "nowhere.py"),
    "file that raises": (["analyze", "raises.py:build"], "raises.py:2: RuntimeError: no weights here"),
    "factory that returns no module": (["analyze", "nothing.py:build"], "returned int"),
    "syntax error": (["analyze", "broken.py:build"], "broken.py:1"),
    "unknown factory": (["analyze", "raises.py:make"], "build"),
    "unknown package": (["analyze", "no_such_package.models:build"], "no_such_package"),
    "input shape": (["analyze", "zoo:digits_cnn", "--input", "1x1xforty"], "1x3x224x224"),
    "input channels": (["analyze", "zoo:digits_cnn", "--input", "1x3x40x40"], "check the input (--input)"),
    "budget without value": (["plan", "zoo:digits_cnn", "--budget", "macs"], "macs"),
    "budget key": (["plan", "zoo:digits_cnn", "--budget", "mac=50%"], "did you mean 'macs'"),
    "budget unit": (["plan", "zoo:digits_cnn", "--budget", "latency=5MB"], "latency"),
    "budget of nothing": (["plan", "zoo:digits_cnn", "--budget", "macs=0%"], "macs"),
    "budget nan": (["plan", "zoo:digits_cnn", "--budget", "macs=nan"], "macs"),
    "no budget": (["plan", "zoo:digits_cnn"], "give at least one"),
    "budget out of reach": (["plan", "zoo:digits_cnn", "--budget", "params=10"], "smallest reachable"),
    "latency without profile": (["plan", "zoo:digits_cnn", "--budget", "latency=50%"], "profile"),
    "pattern": (["plan", "zoo:digits_cnn", "--budget", "macs=50%", "--patterns", "chanel"], "did you mean 'channel'"),
    "sensitivity": (["plan", "zoo:digits_cnn", "--budget", "macs=50%", "--sensitivity", "ERQ"], "erk"),
    "selection": (["plan", "zoo:digits_cnn", "--budget", "macs=50%", "--selection", "best"], "magnitude"),
    "weights": (["plan", "zoo:digits_cnn", "--budget", "macs=50%", "--weights", "half.json"], "half.json"),
    "profile name": (["latency", "zoo:digits_cnn", "--profile", "energy-45"], "energy-45nm"),
    "profile without times": (["latency", "zoo:digits_cnn", "--profile", "energy-45nm"], "holds no times"),
    "profile missing": (["latency", "zoo:digits_cnn", "--profile", "no/such.json"], "no/such.json"),
    "profile truncated": (["latency", "zoo:digits_cnn", "--profile", "half.json"], "half.json"),
    "profile empty": (["devices", "empty.json"], "empty.json"),
    "profile deep": (["devices", "list.json"], "list.json"),
    "no cuda": (["profile", "zoo:digits_cnn", "--device", "cuda:77", "--out", "p.json"], "cuda"),
    "device": (["profile", "zoo:digits_cnn", "--device", "tpu", "--out", "p.json"], "tpu"),
    "out folder": (["profile", "zoo:digits_cnn", "--out", "no/where/p.json"], "no/where"),
    "plan truncated": (["validate", "zoo:digits_cnn", "--plan", "half.json", "--out", "v"], "half.json"),
    "plan missing": (["validate", "zoo:digits_cnn", "--plan", "none.json", "--out", "v"], "none.json"),
    "engine": (["validate", "zoo:digits_cnn", "--plan", "half.json", "--engine", "slurm", "--out", "v"], "slurm"),
    "frontier cost": (["frontier", "zoo:digits_cnn", "--cost", "speed"], "speed"),
    "option": (["analyze", "zoo:digits_cnn", "--inptu", "1"], "--inp"),
    "missing argument": (["plan"], "MODEL"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_status_2(mistake: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, said = MISTAKES[mistake]
    before = {path.name for path in here.iterdir()}
    status = run([*arguments, "--json"] if arguments[-1] != "plan" else arguments)
    out, err = capsys.readouterr()
    assert status == 2, err
    assert out == ""
    lines = [line for line in err.splitlines() if line.strip()]
    assert lines[-1].startswith("advisor: error: ")
    assert said in lines[-1]
    assert "Traceback" not in err
    assert sum(line.startswith("advisor: error: ") for line in lines) == 1
    left = {path.name for path in here.iterdir()} - before - {"__pycache__"}
    assert not left, "nothing half-written stays"


def test_interrupt_is_no_traceback(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["analyze", "stops.py:build", "--input", "1x3"]) == 130
    assert capsys.readouterr().err.splitlines()[-1].startswith("advisor: interrupted")


def test_json_is_the_only_thing_on_standard_output(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "chatty.py").write_text(CHATTY)
    assert run(["analyze", "chatty.py:build", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["macs"] == 8
    assert "building" in err


def test_a_full_disk_is_one_line(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert run(["plan", "zoo:digits_cnn", "--budget", "macs=50%", "--out", "plan.json"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("advisor: error: ")
    assert "No space left" in last
    assert "plan.json" in last
    assert not [path for path in here.iterdir() if "plan" in path.name]
