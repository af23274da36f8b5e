"""Hierarchical attention from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import advisor
from advisor.cli import run

MODEL = "tests.runtime.attention.networks:factory"


def test_a_plan_replaces_attention(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "plan.json"
    arguments = ["plan", MODEL, "--budget", "macs=60%", "--patterns", "hierarchical,channel", "--out", str(out)]
    assert run([*arguments, "--explain"]) == 0
    text = capfd.readouterr().out
    (chosen,) = advisor.load_plan(out).attention
    line = next(line for line in text.splitlines() if line.startswith("attention:attention  "))
    assert f"window={chosen.window} pool={chosen.pool}" in line
    assert f"{chosen.density:.4g}" in line
    assert "6 of 6 layers stay dense" in text
    assert "new parameters come in untrained" in text
    assert f"attention:attention: {chosen.option.label}; saves" in text


def test_the_document_has_it_among_the_layers(capfd: pytest.CaptureFixture[str]) -> None:
    pin = "attention:attention=hierarchical@window=7,pool=4"
    arguments = ["plan", MODEL, "--budget", "macs=60%", "--patterns", "hierarchical", "--pin", pin, "--json"]
    assert run(arguments) == 0
    layers = json.loads(capfd.readouterr().out)["layers"]
    (item,) = [layer for layer in layers if layer["kind"] == "attention"]
    assert (item["pattern"], item["window"], item["pool"], item["grid"]) == ("hierarchical", 7, 4, [16, 16])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--patterns", "hierarchical", "--budget", "latency=50%"], "profile"),
        (
            [
                "--patterns",
                "hierarchical",
                "--budget",
                "macs=50%",
                "--pin",
                "attention:attention=hierarchical@window=0,pool=2",
            ],
            "parameter window=0 is not a positive integer",
        ),
        (
            ["--patterns", "channel", "--budget", "macs=50%", "--pin", "attention:attention=hierarchical"],
            "unknown layer",
        ),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], text: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", MODEL, *arguments]) == 2
    said = capfd.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("advisor: error: ")
    assert text in said
