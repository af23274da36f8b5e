"""A trial in a folder of its own, as on another machine: files go there and come back."""

from pathlib import Path
from typing import Any

import pytest

from tests.validation.engines.conftest import Runs, Studies, job_of, numbers
from validation.engines import EngineOptions, Job, Task
from validation.engines.parcel import pack
from validation.engines.perform import task_to_json
from validation.engines.remote import files_of, trial, write_files


@pytest.fixture
def job(study_of: Studies) -> Job:
    return job_of(study_of("out"), EngineOptions())


def remote(job: Job, task: Task, *, until_saved: int = 99) -> list[dict[str, Any]]:
    """The events of a task whose files are written into the study's folder; breaks off after so many checkpoints."""
    events: list[dict[str, Any]] = []
    saved = 0
    for event in trial(pack(job), "key", task_to_json(task), files_of(job.study.out, task.name)):
        write_files(event.pop("files", {}), job.study.out)
        events.append(event)
        saved += event["event"] == "saved"
        if saved > until_saved:  # the first says what there was before
            break
    return events


def test_what_a_machine_found_out_lies_here(job: Job, runs: Runs) -> None:
    *_, last = remote(job, Task(label="plan", seed=1))
    assert last["event"] == "done"
    whole = [one for one in runs("whole") if (one["plan"], one["seed"]) == ("plan", 1)]
    assert numbers([last["result"]]) == numbers(whole)
    assert [path.name for path in (job.study.out / "runs").iterdir()] == ["plan-1.json"], "its checkpoint is gone again"


def test_another_machine_goes_on_where_one_was_lost(job: Job, runs: Runs) -> None:
    task = Task(label="plan", seed=0)
    remote(job, task, until_saved=2)
    assert [path.name for path in (job.study.out / "runs").iterdir()] == ["plan-0.pt"]
    events = remote(job, task)
    assert [event["number"] for event in events if event["event"] == "epoch"] == [3], "two of three were there"
    whole = [one for one in runs("whole") if (one["plan"], one["seed"]) == ("plan", 0)]
    assert numbers([events[-1]["result"]]) == numbers(whole)


def test_only_a_runs_own_files_travel(tmp_path: Path) -> None:
    for name in ("runs/plan-1.pt", "runs/plan-1@2.json", "found/plan-1/plan.json", "found/plan-1/a/trace.bin"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    for name in (
        "runs/plan-10.pt",
        "runs/plan-2.json",
        "found/plan-10/plan.json",
        "settings.json",
        "runs/.plan-1.pt.x",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert files_of(tmp_path, "plan-1") == {
        name: name.encode()
        for name in ("runs/plan-1.pt", "runs/plan-1@2.json", "found/plan-1/plan.json", "found/plan-1/a/trace.bin")
    }


@pytest.mark.parametrize("name", ["../outside.json", "/tmp/outside.json", "runs/../../outside.json"])
def test_no_file_is_written_outside(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lies outside"):
        write_files({name: b""}, tmp_path / "out")


def test_a_mistake_there_is_told_here(job: Job) -> None:
    parcel = pack(job) | {"study.json": b"{}"}
    (last,) = trial(parcel, "another key", task_to_json(Task(label="plan", seed=0)), {})
    assert last["event"] == "mistake"
    assert "KeyError" in last["text"]
