"""`validate --design`: what it trains, keeps, refuses and teaches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import advisor
from advisor.cli import run
from advisor.errors import PlanError
from advisor.network import Network
from advisor.planning.sensitivity.trained_data import load_responses
from advisor.plans.plan import Plan

SMALL = ["--data", "digits", "--epochs", "1", "--train-size", "64", "--test-size", "40"]


def arguments(spec: str, out: Path, *more: str) -> list[str]:
    return ["validate", spec, "--design", "3", "--budget", "macs=50%", "--seeds", "2", *SMALL, "--out", str(out), *more]


@pytest.fixture
def done(spec: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert run([*arguments(spec, tmp_path / "out", "--responses", str(tmp_path / "all.json")), "--json"]) == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    return report


def test_a_survey_from_beginning_to_end(
    done: dict[str, Any], spec: str, network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert {run["plan"] for run in done["runs"]} == {"dense", "design-000", "design-001", "design-002"}
    assert len(done["runs"]) == 8
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == done
    known = load_responses(tmp_path / "all.json")
    assert {(run.plan, run.seed) for run in known.runs} >= {("dense", 0), ("dense", 1)}
    assert len(known.runs) == 8
    plan = advisor.plan(network, budgets={"macs": "50%"}, sensitivity="trained", responses=tmp_path / "all.json")
    assert plan.sensitivity == "trained"
    # Again: nothing is trained, nothing counts twice.
    assert run(arguments(spec, tmp_path / "out", "--responses", str(tmp_path / "all.json"))) == 0
    text = capsys.readouterr().out
    assert "advisor plan" in text
    assert "--responses" in text
    assert len(load_responses(tmp_path / "all.json").runs) == 8


def test_another_design_needs_another_folder(
    done: dict[str, Any], spec: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*arguments(spec, tmp_path / "out"), "--patterns", "channel"]) == 2
    assert "holds a design with patterns=None" in capsys.readouterr().err
    assert run([*arguments(spec, tmp_path / "out"), "--patterns", "channel", "--restart"]) == 0


def test_a_validation_adds_to_the_collection(
    done: dict[str, Any], spec: str, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import validation.study

    whole = validation.study.time_all
    monkeypatch.setattr("validation.study.time_all", lambda *a, **k: whole(*a, **k, seconds=0.05))
    plan.save(tmp_path / "plan.json")
    more = ["--responses", str(tmp_path / "all.json"), "--baselines", "uniform", "--seeds", "2"]
    command = ["validate", spec, "--plan", str(tmp_path / "plan.json"), *SMALL, "--out", str(tmp_path / "v"), *more]
    assert run(command) == 0
    own, known = load_responses(tmp_path / "v" / "responses.json"), load_responses(tmp_path / "all.json")
    assert len(own.runs) == 6
    assert len(known.runs) == 8 + 4  # the dense runs are the same
    assert len(known.settings) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "either --plan FILE"),
        (["--design", "3"], "needs a budget"),
        (["--design", "3", "--budget", "macs=lots"], "lots"),
        (["--plan", "p.json", "--budget", "macs=50%"], "belong to --design"),
        (["--plan", "p.json", "--design", "3"], "either --plan FILE"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], said: str, spec: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["validate", spec, *words, *SMALL, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert len(error.splitlines()) == 1


def test_another_networks_collection_is_refused_before_training(
    spec: str, done: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = spec.replace(":build", ":few")
    out = tmp_path / "few"
    assert run([*arguments(few, out), "--responses", str(tmp_path / "all.json")]) == 2
    assert "another network" in capsys.readouterr().err
    assert not out.exists()
    with pytest.raises(PlanError, match="no such file"):
        load_responses(tmp_path / "nothing.json")
