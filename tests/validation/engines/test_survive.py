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
        train_size=512,
        test_size=60,
        threads=1,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_driver_worker_and_memory_killed_and_the_report_is_the_same(
    wish: Wish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import validation.study

    timed = validation.study.time_all
    monkeypatch.setattr("validation.study.time_all", lambda *a, **k: timed(*a, **k, seconds=0.05))
    whole = validate(wish, shown=False)
    out = tmp_path / "out"
    (tmp_path / "kill").touch()  # the first worker that gets so far dies by SIGKILL
    arguments = ["validate", wish.model, "--plan", wish.plan_path, "--epochs", "3", "--seeds", "3", "--threads", "1"]
    arguments += ["--baselines", "width,uniform", "--train-size", "512", "--test-size", "60", "--out", str(out)]
    code = "import sys; from advisor.cli import run; run(sys.argv[1:])"
    driver = subprocess.Popen(
        [sys.executable, "-c", code, *arguments, "--workers", "2"], stderr=subprocess.PIPE, text=True
    )
    wait_until(lambda: len(list(out.glob("runs/*.json"))) >= 2 or driver.poll() is not None, "two results")
    assert driver.poll() is None, driver.communicate()[1]
    progress = json.loads((out / "progress.json").read_text())
    assert progress["state"] == "running"
    assert not (tmp_path / "kill").exists()
    left = workers_of(psutil.Process(driver.pid))
    driver.send_signal(signal.SIGKILL)
    _, said = driver.communicate()
    assert "its worker died (killed by SIGKILL)" in said
    assert left
    gone, alive = psutil.wait_procs(left, timeout=60)
    assert not alive, "workers end with their driver"
    assert len(gone) == len(left)
    (tmp_path / "memory").touch()  # the next one meets its memory limit
    survived = validate(replace(wish, out=out, engine=EngineOptions(workers=2)), shown=False)
    assert not (tmp_path / "memory").exists()
    assert numbers(survived["runs"]) == numbers(whole["runs"])
    for item, other in zip(survived["summary"], whole["summary"], strict=True):
        assert (item["plan"], item["mean"], item["confidence_interval"]) == (
            other["plan"],
            other["mean"],
            other["confidence_interval"],
        )
    assert survived["verdict"]["text"] == whole["verdict"]["text"]
    assert survived["settings"] | {"latency": ""} == whole["settings"] | {"latency": ""}
    assert not list(out.rglob("*.pt"))
    assert not list(out.rglob("*.tmp"))
    assert not workers_of(psutil.Process(os.getpid())), "none is left behind"
