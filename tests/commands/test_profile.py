import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from advisor.cli import run
from advisor.devices.measuring.session import Session
from advisor.devices.profile import load_profile


def command(out: Path, *more: str) -> list[str]:
    return ["profile", "zoo:digits_cnn", "--threads", "1", "--patterns", "group", "--out", str(out), *more]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fewest repeats of everything."""
    execution, whole = Session.execution, Session.whole
    monkeypatch.setattr(Session, "execution", lambda self, wanted, seconds: execution(self, wanted, 0.0))
    monkeypatch.setattr(Session, "whole", lambda self, seconds: whole(self, 0.0))


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """What was said last on standard error, which must be one line, with nothing on standard output."""
    found = capsys.readouterr()
    assert found.out == ""
    line = found.err.splitlines()[-1]
    assert line.startswith("advisor: error: ")
    assert "Traceback" not in found.err
    return line


@pytest.mark.usefixtures("quick")
def test_json_is_one_document_and_the_profile_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "p.json"
    assert run(command(out, "--json")) == 0
    said = capsys.readouterr()
    document = json.loads(said.out)
    profile = load_profile(out)
    assert document["out"] == str(out)
    assert document["measurements"] == len(profile.measurements) > 5
    assert document["unmeasured"] == []
    assert document["settings"] == "cpu, batch 1, 1 thread, float32, inference"
    assert document["whole"][0]["model"] == "zoo:digits_cnn"
    assert {execution.execution.method for execution in profile.measurements.values()} == {"dense", "gather"}
    assert "measuring" in said.err  # the progress bar
    assert os.listdir(tmp_path) == ["p.json"]


def test_a_short_budget_lists_what_it_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.perf_counter()
    assert run(command(tmp_path / "p.json", "--budget-seconds", "1.0")) == 0
    assert time.perf_counter() - began < 5
    text = capsys.readouterr().out
    assert "not measured within the time: predicted with an interval, and marked so" in text
    assert "kinds of work measured" in text
    assert load_profile(tmp_path / "p.json").unmeasured


def test_cuda_without_cuda(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run(["profile", "zoo:digits_cnn", "--device", "cuda", "--out", str(tmp_path / "p.json")]) == 2
    assert "sees no CUDA device" in complaint(capsys)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--device", "tpu"], "unknown device 'tpu'; expected cpu, cuda or cuda:INDEX"),
        (["--patterns", "grup"], "unknown pattern 'grup'; did you mean 'group'"),
        (["--batch", "0"], "Invalid value for '--batch'"),
        (["--budget-seconds", "-1"], "Invalid value for '--budget-seconds'"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert run(["profile", "zoo:digits_cnn", "--out", str(tmp_path / "p.json"), *more]) == 2
    assert message in complaint(capsys)
    assert os.listdir(tmp_path) == []


def test_a_missing_folder_is_said_before_the_measuring(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command(tmp_path / "absent" / "p.json")) == 2
    assert "there is no folder" in complaint(capsys)


@pytest.mark.usefixtures("quick")
def test_a_full_disk_is_one_line_and_a_rerun_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, count = os.fsync, 0

    def full(descriptor: int) -> None:
        nonlocal count
        count += 1
        if count == 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert run(command(tmp_path / "p.json")) == 2
    assert "No space left on device; what was measured so far is kept there" in complaint(capsys)
    assert os.listdir(tmp_path) == ["p.json.partial"]
    assert run(command(tmp_path / "p.json")) == 0
    assert os.listdir(tmp_path) == ["p.json"]


@pytest.mark.usefixtures("quick")
def test_ctrl_c_ends_with_130_and_keeps_the_journal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, count = Session.execution, 0

    def execution(self: Session, *arguments: Any) -> Any:
        nonlocal count
        count += 1
        if count == 3:
            signal.raise_signal(signal.SIGINT)
        return real(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "execution", execution)
        assert run(command(tmp_path / "p.json")) == 130
    assert "interrupted: 3 measurements are kept in" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["p.json.partial"]


def test_ctrl_c_while_setting_up_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr("advisor.trace.analyze", interrupted)
    assert run(command(tmp_path / "p.json")) == 130
    assert "interrupted" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def started(out: Path) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "advisor.cli", *command(out, "--budget-seconds", "40", "--json")]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def when_measured(process: subprocess.Popen[str], partial: Path, lines: int) -> None:
    """Waits until the journal has that many lines."""
    deadline = time.monotonic() + 120
    while not (partial.exists() and partial.read_bytes().count(b"\n") >= lines):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_killed_and_interrupted_then_the_same_command_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "p.json"
    partial = tmp_path / "p.json.partial"
    first = started(out)
    when_measured(first, partial, 5)
    first.kill()
    first.communicate()
    kept = partial.read_bytes().count(b"\n")
    assert kept >= 5
    second = started(out)
    when_measured(second, partial, kept + 3)
    second.send_signal(signal.SIGINT)
    said, complaint = second.communicate(timeout=60)
    assert second.returncode == 130
    assert said == ""
    assert "run the same command again to go on" in complaint
    assert "Traceback" not in complaint
    assert not out.exists()
    before = {json.loads(line)["key"] for line in partial.read_text().splitlines()[1:]}
    third = started(out)
    said, complaint = third.communicate(timeout=120)
    assert third.returncode == 0, complaint
    document = json.loads(said)
    measured = load_profile(out).measurements
    assert {key for key in before if not key.startswith("whole:")} <= set(measured)
    assert document["measurements"] == len(measured) >= kept
    assert os.listdir(tmp_path) == ["p.json"]
