"""Data and trained weights on the command line: who needs them, and what is said where they are missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from advisor.cli import run
from advisor.models import load_model

PLAN = ["plan", "zoo:digits_cnn", "--input", "1x1x8x8", "--budget", "macs=60%", "--patterns", "channel"]
DATA = ["--data", "digits", "--examples", "16"]


def weights(folder: Path) -> str:
    module = load_model("zoo:digits_cnn", device="cpu", seed=1).module
    module.train()(torch.randn(8, 1, 8, 8))  # statistics as training leaves them
    torch.save(module.state_dict(), folder / "net.pt")
    return str(folder / "net.pt")


def test_data_by_name_for_a_network_that_is_yet_to_be_trained(capfd: pytest.CaptureFixture[str]) -> None:
    assert run([*PLAN, *DATA, "--sensitivity", "snip", "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["sensitivity"] == "snip"
    notes = " ".join(document["notes"])
    assert "losses (snip) come from gradients on 16 examples" in notes
    assert "freshly drawn weights (seed 0)" in notes


def test_data_and_trained_weights_choose_connections(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = [*PLAN, *DATA, "--weights", weights(tmp_path), "--sensitivity", "fisher", "--selection", "taylor"]
    assert run([*arguments, "--out", str(tmp_path / "plan.json"), "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert {layer["selection"] for layer in document["layers"] if layer["pattern"] == "channel"} == {"taylor"}
    assert (tmp_path / "plan.connections.safetensors").is_file()
    assert "freshly drawn" not in " ".join(document["notes"])


def test_the_front_takes_data_too(capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["frontier", "zoo:digits_cnn", "--input", "1x1x8x8", "--cost", "macs", "--points", "3"]
    assert run([*arguments, *DATA, "--patterns", "channel", "--sensitivity", "snip", "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["sensitivity"] == "snip"
    assert len(document["points"]) >= 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--sensitivity", "snip"], "sensitivity 'snip' needs labelled data"),
        ([*DATA, "--sensitivity", "fisher"], "comes without trained weights, and fisher looks at trained ones"),
        ([*DATA, "--selection", "taylor"], "comes without trained weights, and taylor looks at trained ones"),
        (["--selection", "reconstruct"], "call advisor.reconstruct(plan, model, data)"),
        (["--selection", "tailor"], "unknown selection 'tailor'; did you mean 'taylor'"),
        (["--data", "digitz", "--sensitivity", "snip"], "unknown data set 'digitz'"),
        (["--data", "cifar10", "--sensitivity", "snip"], "data set 'cifar10'"),
        (["--data", "no.py:x", "--sensitivity", "snip"], "no file 'no.py' here"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], says: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run([*PLAN, *arguments]) == 2
    captured = capfd.readouterr()
    assert says in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
