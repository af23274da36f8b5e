"""`advisor plan --table`, and what is asked of single layers, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import advisor
from advisor.cli import run

MODEL = "zoo:digits_cnn"
TEXT = """layer,pattern,density,latency,watts,loss
a,dense,1,4,3,0
a,channel,0.5,2.5,2,0.1
b,dense,1,6,5,0
b,channel,0.25,1,1,0.7
"""
TIMINGS = "base\n0.012\nprunable\n0.010\nconv\n0.006 0.0\n0.001 0.9\nfc\n0.004 0.0\n0.003 0.75\n"
LOSSES = "layer,sparsity,loss\nconv,0,0\nconv,0.9,5\nfc,0,0\nfc,0.75,1\n"


@pytest.fixture
def costs(tmp_path: Path) -> str:
    path = tmp_path / "costs.csv"
    path.write_text(TEXT)
    return str(path)


def test_a_table_needs_no_model(costs: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "plan.json"
    assert run(["plan", "--table", costs, "--budget", "latency=50%", "--out", str(out), "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert (document["model"], document["of_table"]) == ("costs", True)
    assert document["costs"]["latency"] == {"dense": 10.0, "plan": 5.0, "budget": 5.0}
    assert document["objective"] == pytest.approx(0.7)
    assert document["gap"] <= 0.001
    assert advisor.load_plan(out).to_json() == document
    assert run(["plan", "--table", costs, "--budget", "watts=70%", "--budget", "latency=9ms"]) == 0
    text = capfd.readouterr().out
    assert "watts" in text
    assert "1 of 2 layers stay dense" in text
    assert run(["latency", MODEL, "--plan", str(out), "--profile", "energy-45nm"]) == 2
    assert capfd.readouterr().err.count("\n") == 1


def test_timings_bring_a_prior_or_the_users_losses(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    timings, losses = tmp_path / "net.txt", tmp_path / "losses.csv"
    timings.write_text(TIMINGS)
    losses.write_text(LOSSES)
    budget = ["--budget", "latency=95%"]
    assert run(["plan", "--table", str(timings), *budget]) == 0
    assert "note: losses are a prior (log" in capfd.readouterr().out
    assert run(["plan", "--table", str(timings), *budget, "--losses", str(losses), "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["objective"] == 1.0
    assert "losses of losses.csv" in document["notes"]


def test_wrong_tables_and_what_does_not_go_with_them(
    costs: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text(TEXT.replace("2.5,2", "-2.5,2"))
    cases = {
        f"{bad} row 3, column latency: got '-2.5'": ["--table", str(bad), "--budget", "latency=50%"],
        "MODEL says nothing about a table": [MODEL, "--table", costs, "--budget", "latency=50%"],
        "--seed says nothing about a table": ["--table", costs, "--budget", "latency=50%", "--seed", "3"],
        "no MODEL; expected a network": ["--budget", "latency=50%"],
        "unknown budget 'macs'; known: latency, watts": ["--table", costs, "--budget", "macs=50%"],
        "it needs --table FILE": [MODEL, "--budget", "macs=50%", "--losses", "log"],
        "no budget given": ["--table", costs],
        "a CSV has its losses in the column loss": ["--table", costs, "--budget", "latency=50%", "--losses", "log"],
    }
    for says, arguments in cases.items():
        assert run(["plan", *arguments]) == 2
        error = capfd.readouterr().err
        assert says in error
        assert error.count("\n") == 1


def test_layers_are_pinned_and_patterns_allowed(capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["plan", MODEL, "--budget", "macs=60%", "--patterns", "channel,group", "--json"]
    assert run([*arguments, "--pin", "features.4=channel@0.4", "--forbid", "*=group", "--min-density", "0.1"]) == 0
    layers = {layer["name"]: layer for layer in json.loads(capfd.readouterr().out)["layers"]}
    assert (layers["features.4"]["pattern"], layers["features.4"]["density"]) == ("channel", 0.4)
    assert {layer["pattern"] for layer in layers.values()} <= {"dense", "channel"}
    assert all(layer["density"] >= 0.1 for layer in layers.values())


def test_densities_off_the_grid(costs: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "plan.json"
    arguments = ["plan", MODEL, "--budget", "macs=35%", "--patterns", "channel", "--continuous"]
    assert run([*arguments, "--out", str(out), "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    found = document["continuous"]
    assert set(found) == {"gain", "objective_grid", "objective_relaxed", "objective", "steps"}
    assert document["objective"] == found["objective"] == pytest.approx(found["objective_grid"] * (1 - found["gain"]))
    assert found["gain"] > 0
    assert advisor.load_plan(out).to_json()["continuous"] == found
    assert run(arguments) == 0
    assert "note: densities off the grid lower the loss by" in capfd.readouterr().out
    assert run(["plan", "--table", costs, "--budget", "latency=50%", "--continuous"]) == 0
    assert "note: no density off the grid lowers the loss" in capfd.readouterr().out


def test_what_cannot_be_asked_is_explained(capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["plan", MODEL, "--budget", "macs=60%", "--patterns", "channel"]
    for more, says in (
        (["--pin", "features.4"], "--pin 'features.4'; expected LAYER=OPTION"),
        (["--pin", "feature.4=dense"], "pin dense: unknown layer 'feature.4'; did you mean 'features.4'"),
        (
            ["--pin", "features.4=block@0.5,size=3"],
            "layer features.4: no option for pin block@0.5,size=3; it has dense",
        ),
        (["--pin", "features.4=2"], "pin features.4: got density 2.0, expected a number above 0, up to 1"),
        (["--allow", "features.4=grup"], "allow grup for features.4: unknown pattern 'grup'"),
        (["--min-density", "half"], "--min-density 'half': got 'half', expected a number above 0, up to 1"),
        (["--max-density", "features.4=0.001"], "layer features.4: no option for max_density 0.001; it has dense"),
        (["--pin", "*=dense"], "(pin dense) takes"),
    ):
        assert run([*arguments, *more]) == 2
        error = capfd.readouterr().err
        assert says in error
        assert error.count("\n") == 1
