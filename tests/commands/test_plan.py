"""`advisor plan` and `advisor frontier` as a user types them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import advisor
from advisor.cli import run
from advisor.commands.network import open_network
from advisor.network import Network
from advisor.planning.menu.options import menu
from tests.devices.synthetic import all_executions, profile_of

MODEL = "zoo:digits_cnn"


@pytest.fixture(scope="module")
def network() -> Network:
    return open_network(MODEL, None)


@pytest.fixture
def profile_file(network: Network, tmp_path: Path) -> str:
    options = {name: tuple(found) for name, found in menu(network, ("channel", "group")).options.items()}
    path = tmp_path / "profile.json"
    profile_of(network, all_executions(network, options).values()).save(path)
    return str(path)


def test_a_plan_file_holds_the_contracts_keys(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "plan.json"
    arguments = ["plan", MODEL, "--budget", "macs=30%", "--budget", "params=100k", "--patterns", "channel,group"]
    assert run([*arguments, "--out", str(out), "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert {"schema", "model", "input", "costs", "objective", "bound", "gap", "solve_seconds", "layers"} <= set(
        document
    )
    assert document["model"] == MODEL
    assert document["input"] == [[1, 1, 40, 40]]
    assert document["costs"]["macs"]["plan"] <= document["costs"]["macs"]["budget"]
    assert "budget" not in document["costs"]["energy"]
    assert document["gap"] <= 0.001
    assert all({"name", "pattern", "density", "seed"} <= set(layer) for layer in document["layers"])
    loaded = advisor.load_plan(out)
    assert loaded.objective == document["objective"]
    assert [layer.name for layer in loaded.layers] == [layer["name"] for layer in document["layers"]]
    assert list(tmp_path.iterdir()) == [out]


def test_text_shows_costs_layers_and_the_proof(profile_file: str, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["plan", MODEL, "--budget", "latency=70%", "--patterns", "channel,group", "--profile", profile_file]
    assert run(arguments) == 0
    text = capfd.readouterr().out
    assert "latency" in text
    assert "runs by" in text
    assert any(line.split()[-1:] == ["gather"] for line in text.splitlines())
    assert " ms " in text
    assert "interval" in text
    assert "features.8" in text
    assert "layers stay dense" in text
    assert "gap 0.0" in text
    assert "note: latency of the plan's 5 layers" in text


def test_magnitude_takes_the_users_weights(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    model = open_network(MODEL, None, device="cpu").module
    assert model is not None
    torch.save(model.state_dict(), tmp_path / "net.pt")
    arguments = ["plan", MODEL, "--budget", "params=30%", "--patterns", "channel", "--selection", "magnitude"]
    assert run(arguments) == 2
    assert "comes without trained weights" in capfd.readouterr().err
    out = tmp_path / "plan.json"
    assert run([*arguments, "--weights", str(tmp_path / "net.pt"), "--out", str(out)]) == 0
    plan = advisor.load_plan(out)
    assert plan.chosen
    assert {layer.selection for layer in plan.layers if layer.pattern == "channel"} == {"magnitude"}


def test_magnitude_takes_the_weights_that_a_factory_gives(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\n"
        "def build():\n"
        "    torch.manual_seed(0)\n"
        "    layers = [torch.nn.Linear(8, 32), torch.nn.Linear(32, 32), torch.nn.Linear(32, 4)]\n"
        "    return torch.nn.Sequential(*layers), torch.zeros(1, 8)\n"
    )
    model = f"{tmp_path}/net.py:build"
    arguments = ["plan", model, "--budget", "params=50%", "--patterns", "channel", "--sensitivity", "magnitude"]
    assert run([*arguments, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["sensitivity"] == "magnitude"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--budget", "latency=50%"], "budget latency needs a profile"),
        (["--budget", "latncy=50%"], "unknown budget 'latncy'"),
        (["--budget", "macs=0%"], "positive"),
        (["--budget", "macs=nan%"], "positive"),
        (["--budget", "macs=150%"], "more than the dense network"),
        (["--budget", "macs=12ms"], "unknown unit 'ms'"),
        ([], "no budget given"),
        (["--budget", "macs=50%", "--patterns", "chanel"], "unknown pattern 'chanel'"),
        (["--budget", "macs=50%", "--patterns", ""], "no pattern to choose from"),
        (["--budget", "macs=50%", "--rounding", "floor"], "unknown rounding 'floor'"),
        (["--budget", "macs=50%", "--sensitivity", "snap"], "unknown sensitivity 'snap'"),
        (["--budget", "macs=50%", "--sensitivity", "snip"], "sensitivity 'snip' needs labelled data; give batches"),
        (["--budget", "macs=0.1%", "--patterns", "channel"], "is below the smallest reachable"),
        (["--budget", "macs=50%", "--profile", "none.json"], "no such file"),
        (["--budget", "macs=50%", "--exchange", "none.json"], "none.json"),
        (["--budget", "macs=50%", "--patterns", "channel", "--out", "/nowhere/plan.json"], "/nowhere"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], says: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", MODEL, *arguments]) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("advisor: error: ")
    assert says in captured.err
    assert captured.err.count("\n") == 1


def test_frontier(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["frontier", MODEL, "--cost", "macs", "--points", "5", "--patterns", "channel", "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    costs = [point["cost"] for point in document["points"]]
    assert costs == sorted(costs, reverse=True)
    assert len(costs) == 5
    assert all({"cost", "loss", "gap", "knee", "densities"} <= set(point) for point in document["points"])
    assert run(["frontier", MODEL, "--cost", "macs", "--points", "5", "--patterns", "channel"]) == 0
    text = capfd.readouterr().out
    assert "100.0 %" in text
    assert "knee" in text
    assert run(["frontier", MODEL]) == 2
    assert "budget latency needs a profile" in capfd.readouterr().err


def test_what_the_solver_prints_from_c_stays_out_of_the_document(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import ctypes

    from advisor.planning import problem

    solve = problem.solve

    def noisy(*args: object, **kwargs: object) -> object:
        ctypes.CDLL(None).puts(b"HighsMipSolverData says hello")
        return solve(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(problem, "solve", noisy)
    assert run(["plan", MODEL, "--budget", "macs=50%", "--patterns", "channel", "--json"]) == 0
    captured = capfd.readouterr()
    assert json.loads(captured.out)["model"] == MODEL
    assert "says hello" in captured.err


def test_explain_says_why_in_text_and_in_the_document(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["plan", MODEL, "--budget", "macs=50%", "--patterns", "channel", "--explain"]
    out = tmp_path / "plan.json"
    assert run([*arguments, "--out", str(out)]) == 0
    text = capfd.readouterr().out
    assert "features.8: channel d=" in text
    assert "next step down" in text
    assert "(--include-ends)" in text
    assert run([*arguments, "--json"]) == 0
    printed = capfd.readouterr().out
    document = json.loads(printed)
    assert [item["name"] for item in document["explanation"]["reasons"]] == [x["name"] for x in document["layers"]]
    out.write_text(printed)
    assert advisor.load_plan(out).model == MODEL, "what is printed can be read as a plan, too"


def test_refine_measures_and_records_its_rounds(
    profile_file: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from advisor.devices.profile import load_profile
    from advisor.devices.settings import this_machine

    arguments = ["plan", MODEL, "--budget", "latency=70%", "--patterns", "channel,group", "--refine", "2"]
    assert run([*arguments, "--profile", profile_file]) == 2
    assert "was measured on Roofline" in capfd.readouterr().err
    here = tmp_path / "here.json"
    replace(load_profile(profile_file), machine=this_machine()).save(here)
    out = tmp_path / "plan.json"
    arguments += ["--profile", str(here), "--seconds", "0.05"]
    assert run([*arguments, "--out", str(out), "--json"]) == 0
    captured = capfd.readouterr()
    document = json.loads(captured.out)
    assert 1 <= len(document["rounds"]) <= 2
    assert sum(item["kept"] for item in document["rounds"]) >= 1
    assert "round 1: latency predicted" in captured.err
    assert advisor.load_plan(out).rounds
    assert any("latency is measured here" in note for note in document["notes"])
    assert run(["plan", MODEL, "--budget", "params=50%", "--refine", "2"]) == 2
    assert "nothing to refine" in capfd.readouterr().err
