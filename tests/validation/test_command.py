"""The two commands on the command line."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from advisor.cli import run
from advisor.plans.plan import Plan


@pytest.fixture
def saved(plan: Plan, tmp_path: Path) -> str:
    plan.save(tmp_path / "plan.json")
    return str(tmp_path / "plan.json")


MISTAKES = [
    (["--address", "auto"], "--address=auto belongs to --engine ray"),
    (["--gpus-per-run", "0.5"], "belongs to --engine ray"),
    (["--engine", "ray", "--gpus-per-run", "1.5"], "a part of one GPU or a whole number"),
    (["--engine", "ray", "--device", "cuda:1"], "Ray gives every run its GPU"),
    (["--engine", "ray", "--address", "ray://somewhere:10001"], "is of Ray Client"),
    (["--workers", "0"], "--workers"),
    (["--engine", "rya"], "unknown engine 'rya'"),
    (["--data", "clutered"], "did you mean 'cluttered'"),
    (["--data", "mnist5k"], "images of 28x28, the network takes 8x8"),
    (["--data", "cifar10"], "has 3 channels, the network takes 1"),
    (["--baselines", "widht"], "did you mean 'width'"),
    (["--from", "none.pt"], "no file 'none.pt'"),
    (["--profile", "no-such"], "no-such"),
    (["--device", "cuda:77"], "cuda"),
    (["--epochs", "0"], "--epochs"),
    (["--seeds", "none"], "--seeds"),
    (["--train-size", "99999"], "1437 train images"),
    (["--amp", "fp16"], "float16 trains on CUDA alone"),
    (["--amp", "int8"], "unknown mixed precision 'int8'"),
    (["--rate", "0"], "rate='0', expected fixed, auto, or a number above 0"),
    (["--halving", "1"], "--halving"),
]


@pytest.mark.parametrize(("more", "said"), MISTAKES, ids=lambda value: str(value[1]) if isinstance(value, list) else "")
def test_a_mistake_is_one_line_and_leaves_nothing(
    more: list[str], said: str, spec: str, saved: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(["validate", spec, "--plan", saved, "--out", str(out), *more]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("advisor: error: ")
    assert said in last
    assert not list(tmp_path.glob("out/**/*.json"))


def test_a_plan_for_another_network_is_refused(saved: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["validate", "zoo:digits_cnn", "--plan", saved, "--out", str(tmp_path / "out")]) == 2
    assert "advisor: error: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_from_the_command_line_to_the_report(
    spec: str, saved: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import validation.study

    whole = validation.study.time_all
    monkeypatch.setattr("validation.study.time_all", lambda *a, **k: whole(*a, **k, seconds=0.05))
    arguments = ["validate", spec, "--plan", saved, "--epochs", "1", "--seeds", "1", "--train-size", "64"]
    arguments += ["--baselines", "", "--threads", "1", "--out", str(tmp_path / "out")]
    assert run(arguments) == 0
    text = capsys.readouterr().out
    assert "cannot" in text or "ran alone" in text
    assert "report.html" in text
    assert run([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [item["plan"] for item in document["summary"]] == ["dense", "plan"]


def test_the_page_starts_on_this_machine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def started(command: list[str], **more: object) -> subprocess.CompletedProcess[str]:
        seen.extend(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr("validation.command.subprocess.run", started)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert run(["app", "--port", str(port), "--model", "net.py:build", "--", "--profile", "mine.json"]) == 0
    assert seen[:4] == [sys.executable, "-m", "streamlit", "run"]
    assert seen[4].endswith("app.py")
    options = dict(zip(seen[5:-5:2], seen[6:-4:2], strict=True))
    assert (
        options.items()
        >= {
            "--server.address": "127.0.0.1",
            "--server.port": str(port),
            "--server.headless": "true",
            "--browser.gatherUsageStats": "false",
        }.items()
    )
    assert seen[-5:] == ["--", "--model", "net.py:build", "--profile", "mine.json"]


def test_a_port_in_use_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert run(["app", "--port", str(taken.getsockname()[1])]) == 2
    assert "choose another --port" in capsys.readouterr().err


def test_a_mistyped_option_does_not_reach_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["app", "--prot", "8600"]) == 2
    assert "--port" in capsys.readouterr().err
