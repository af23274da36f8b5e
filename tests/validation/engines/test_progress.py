"""Progress of several runs at once."""

import json
from pathlib import Path
from typing import Any

import pytest

from validation.running.progress import Monitor
from validation.training.recipe import EpochResult

EPOCH = EpochResult(loss=1.0, accuracy=0.5, seconds=1.0)


@pytest.fixture(autouse=True)
def always_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("validation.running.progress.EVERY_SECONDS", -1.0)


def seen(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "progress.json").read_text())
    return found


def test_all_runs_at_work_are_shown(tmp_path: Path) -> None:
    monitor = Monitor(tmp_path, 40, shown=False)
    one, two = monitor.of("dense-0"), monitor.of("plan-0")
    one.start("dense-0", 2)
    two.start("plan-0", 2)
    one.epoch(1)
    two.epoch(1)
    one.step(3)
    two.step(2)
    told = seen(tmp_path)
    assert told["running"] == [{"run": "dense-0", "epoch": 1, "epochs": 2}, {"run": "plan-0", "epoch": 1, "epochs": 2}]
    assert (told["done"], told["run"]) == (5, "plan-0")
    monitor.finished({"plan": "dense", "seed": 0, "accuracy": 0.5}, 10)
    told = seen(tmp_path)
    assert [item["run"] for item in told["running"]] == ["plan-0"]
    assert (told["done"], told["finished"]) == (12, [{"plan": "dense", "seed": 0, "accuracy": 0.5}])


def test_steps_of_a_worker_that_died_are_taken_back(tmp_path: Path) -> None:
    monitor = Monitor(tmp_path, 40, shown=False)
    run = monitor.of("plan-0")
    run.start("plan-0", 2)
    run.at(0)
    run.step(10)
    run.saved([EPOCH])
    run.step(7)
    assert run.drop() == (EPOCH,)
    run.start("plan-0", 2)
    run.at(10)
    run.step(1)
    assert seen(tmp_path)["done"] == 11
    monitor.finished({"plan": "plan", "seed": 0, "accuracy": 0.5}, 20)
    monitor.close("done")
    told = seen(tmp_path)
    assert (told["done"], told["state"], told["running"]) == (20, "done", [])


def test_a_run_that_pauses_is_counted_once(tmp_path: Path) -> None:
    monitor = Monitor(tmp_path, 40, shown=False)
    monitor.start("erk-0", 4)
    monitor.at(0)
    monitor.step(10)
    monitor.pause("erk-0")
    monitor.start("erk-0", 4)
    monitor.at(10)
    monitor.step(1)
    assert seen(tmp_path)["done"] == 11
