"""`advisor frontier` over two costs, its plans as files, and at most N patterns, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from advisor.cli import run
from advisor.plans.plan import load_plan

MODEL = "zoo:digits_cnn"


def test_two_costs_with_each_point_as_a_plan_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder, figure = tmp_path / "plans", tmp_path / "front.html"
    asked = ["frontier", MODEL, "--cost", "macs", "--cost", "params", "--points", "6", "--patterns", "channel"]
    assert run([*asked, "--out", str(folder), "--figure", str(figure), "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["costs"] == ["macs", "params"]
    plans = [load_plan(path) for path in sorted(folder.glob("point-*.json"))]
    assert len(plans) == len(document["points"]) > 2
    for plan, point in zip(plans, document["points"], strict=True):
        assert plan.objective == pytest.approx(point["loss"])
        for key in ("macs", "params"):
            assert plan.costs[key].budget == point["limits"][key]
            assert plan.costs[key].plan <= point["limits"][key]
    assert b"estimated loss" in figure.read_bytes()
    assert run(asked) == 0
    text = capfd.readouterr().out
    assert text.splitlines()[0].split() == ["macs", "of", "dense", "params", "of", "dense", "loss", "gap"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--cost", "macs", "--cost", "macs"], "costs macs, macs; a front has one cost or two different ones"),
        (["--cost", "macs", "--cost", "params", "--cost", "energy"], "a front has one cost or two different ones"),
        (["--cost", "macs", "--cost", "speed"], "unknown cost 'speed'"),
        (["--cost", "macs", "--points", "3", "--out", "/dev/null/plans"], "--out /dev/null/plans: no folder can be"),
    ],
)
def test_mistakes_end_in_one_line(arguments: list[str], says: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["frontier", MODEL, *arguments]) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert says in captured.err
    assert captured.err.count("\n") == 1


def test_at_most_one_pattern_and_what_binds(capfd: pytest.CaptureFixture[str]) -> None:
    asked = ["plan", MODEL, "--budget", "macs=30%", "--budget", "params=35%", "--max-patterns", "1"]
    assert run([*asked, "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert len({layer["pattern"] for layer in document["layers"]} - {"dense"}) == 1
    assert document["binding"]
    assert all(item["shadow_price"] > 0 for item in document["binding"])
    assert run(asked) == 0
    assert "more would lower the loss by about" in capfd.readouterr().out
    assert run(["plan", MODEL, "--budget", "macs=30%", "--max-patterns", "0"]) == 2
    assert "--max-patterns" in capfd.readouterr().err


def test_what_is_asked_of_layers_holds_at_every_point(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    asked = ["frontier", MODEL, "--cost", "macs", "--points", "4", "--patterns", "channel,group"]
    more = ["--pin", "features.4=dense", "--min-density", "features.8=0.25", "--forbid", "features.12=group"]
    assert run([*asked, *more, "--out", str(tmp_path), "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    for path, point in zip(sorted(tmp_path.glob("point-*.json")), document["points"], strict=True):
        plan = load_plan(path)
        assert {layer.name: layer.option.label for layer in plan.layers} == point["options"]
        assert plan.layer("features.4").pattern == "dense"
        assert plan.layer("features.8").density >= 0.25
        assert plan.layer("features.12").pattern != "group"
    assert run([*asked, "--pin", "features.4"]) == 2
    assert "--pin 'features.4'; expected LAYER=OPTION" in capfd.readouterr().err
