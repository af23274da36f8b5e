"""Real processes that really die: the numbers are those of a quiet run in turn."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from advisor.plans.plan import load_plan
from tests.validation.engines.conftest import numbers
from validation.engines import EngineOptions
from validation.study import Wish, validate

WORKER = "validation.engines.worker"


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    """Its worker processes that are there."""
    found = []
    for child in process.children():
        try:
            if WORKER in child.cmdline():
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def wait_until(true: Any, what: str, seconds: float = 200.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"{what} did not happen in {seconds} s"
        time.sleep(0.02)


@pytest.fixture
def wish(mortal: str, tmp_path: Path) -> Wish:
    import advisor
    from advisor.commands.network import open_network

    plan = advisor.plan(open_network(mortal, None, device="cpu"), budgets={"macs": "40%"}, patterns=["channel"])
    plan.save(tmp_path / "plan.json")
    return Wish(
        model=mortal,
        plan=load_plan(tmp_path / "plan.json"),
        plan_path=str(tmp_path / "plan.json"),
        out=tmp_path / "whole",
        epochs=3,
        seeds=3,
        baselines=("width", "uniform"),
        train_size=256,
        test_size=60,
        threads=1,
    )


def same(report: dict[str, Any], whole: dict[str, Any]) -> None:
    assert numbers(report["runs"]) == numbers(whole["runs"])
    for item, other in zip(report["summary"], whole["summary"], strict=True):
        keys = ("plan", "mean", "confidence_interval")
        assert [item[key] for key in keys] == [other[key] for key in keys]
    assert report["verdict"]["text"] == whole["verdict"]["text"]
    assert report["settings"] | {"latency": ""} == whole["settings"] | {"latency": ""}


@pytest.fixture(autouse=True)
def quick_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    import validation.study

    timed = validation.study.time_all
    monkeypatch.setattr("validation.study.time_all", lambda *a, **k: timed(*a, **k, seconds=0.05))


@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited by way of /proc")
def test_a_killed_worker_and_one_without_memory_leave_no_trace(
    wish: Wish, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Twelve trials; two die in mid-trial, one by SIGKILL and one at its memory limit."""
    whole = validate(wish, shown=False)
    out = tmp_path / "out"
    (tmp_path / "kill").touch()
    (tmp_path / "memory").touch()
    survived = validate(replace(wish, out=out, engine=EngineOptions(workers=2)), shown=False)
    said = capfd.readouterr().err
    assert "its worker died (killed by SIGKILL" in said
    assert "its worker died (out of memory: " in said
    assert "memory ran out; from now on 1 at once" in said
    same(survived, whole)
    assert not list(out.rglob("*.pt"))
    assert not workers_of(psutil.Process(os.getpid())), "none is left behind"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited by way of /proc")
def test_a_killed_driver_takes_its_workers_along_and_goes_on(wish: Wish, tmp_path: Path) -> None:
    whole = validate(wish, shown=False)
    out = tmp_path / "out"
    (tmp_path / "kill").touch()
    arguments = ["validate", wish.model, "--plan", wish.plan_path, "--epochs", "3", "--seeds", "3", "--threads", "1"]
    arguments += ["--baselines", "width,uniform", "--train-size", "256", "--test-size", "60", "--out", str(out)]
    code = "import sys; from advisor.cli import run; run(sys.argv[1:])"
    driver = subprocess.Popen(
        [sys.executable, "-c", code, *arguments, "--workers", "2"], stderr=subprocess.PIPE, text=True
    )
    wait_until(lambda: len(list(out.glob("runs/*.json"))) >= 2 or driver.poll() is not None, "two results")
    assert driver.poll() is None, driver.communicate()[1]
    assert json.loads((out / "progress.json").read_text())["state"] == "running"
    left = workers_of(psutil.Process(driver.pid))
    driver.send_signal(signal.SIGKILL)
    _, said = driver.communicate()
    assert "its worker died (killed by SIGKILL" in said
    assert left
    gone, alive = psutil.wait_procs(left, timeout=60)
    assert not alive, "workers end with their driver"
    assert len(gone) == len(left)
    (tmp_path / "memory").touch()
    same(validate(replace(wish, out=out, engine=EngineOptions(workers=2)), shown=False), whole)
    assert not list(out.rglob("*.tmp"))
