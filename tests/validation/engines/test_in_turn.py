"""One run after the other, memory that runs out, and runs that stop on the way."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from advisor.errors import AdvisorError
from tests.validation.engines.conftest import Runs, Studies, job_of, numbers
from validation.engines import EngineOptions, Task, open_engine
from validation.running.matrix import run_all
from validation.running.progress import Monitor


@pytest.fixture
def scarce(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Memory runs out in these steps of the whole validation."""
    import validation.running.progress

    when: list[str] = []
    steps = 0
    step = validation.running.progress.Monitor.step

    def counting(self: Monitor, count: int = 1) -> None:
        nonlocal steps
        steps += 1
        step(self, count)
        if str(steps) in when:
            raise MemoryError

    monkeypatch.setattr(Monitor, "step", counting)
    return when


def test_memory_that_runs_out_once_changes_no_number(runs: Runs, scarce: list[str]) -> None:
    whole = numbers(runs("whole"))
    scarce += ["51", "65"]  # 48 steps before; then one epoch of the first run is repeated
    assert numbers(runs("scarce")) == whole


def test_a_run_that_never_fits_is_lost_and_tried_again_later(runs: Runs, scarce: list[str], tmp_path: Path) -> None:
    scarce += ["6", "8"]
    found = runs("out", retries=1)
    assert [one.get("lost", False) for one in found] == [True, False, False, False]
    assert found[0]["problem"].startswith("its worker died 2 times in epoch 2, the last time: out of memory")
    assert found[0]["accuracy"] is None
    assert len(found[0]["epochs"]) == 1
    left = sorted(path.name for path in (tmp_path / "out" / "runs").iterdir())
    assert left == ["dense-0.pt", "dense-1.json", "plan-0.json", "plan-1.json"], "its last epoch waits"
    assert numbers(runs("out")) == numbers(runs("whole"))


def test_a_run_may_stop_on_the_way_without_a_trace_in_its_numbers(study_of: Studies, runs: Runs) -> None:
    job = job_of(study_of("out"), EngineOptions())
    with open_engine(job) as engine:
        (first,) = engine.run([Task(label="plan", seed=0, until=1)])
        (again,) = engine.run([Task(label="plan", seed=0, until=1)])
        (second,) = engine.run([Task(label="plan", seed=0, until=2)])
        (last,) = engine.run([Task(label="plan", seed=0)])
    assert first == again
    assert [len(one["epochs"]) for one in (first, second, last)] == [1, 2, 3]
    assert first["accuracy"] is not None
    whole = runs("whole")
    (undisturbed,) = numbers([one for one in whole if (one["plan"], one["seed"]) == ("plan", 0)])
    assert numbers([last]) == [undisturbed]
    assert json.loads((job.study.out / "runs" / "plan-0@1.json").read_text()) == first


def test_what_lies_beyond_a_stop_is_no_answer_to_it(study_of: Studies) -> None:
    """A checkpoint of a longer training says nothing about an earlier epoch."""
    job = job_of(study_of("out"), EngineOptions())
    with open_engine(job) as engine:
        list(engine.run([Task(label="plan", seed=0, until=2)]))
        (first,) = engine.run([Task(label="plan", seed=0, until=1)])
    fresh = job_of(study_of("fresh"), EngineOptions())
    with open_engine(fresh) as engine:
        assert numbers([first]) == numbers(list(engine.run([Task(label="plan", seed=0, until=1)])))


def test_kinds_of_machine_are_told_where_there_are_several() -> None:
    from validation.reporting.judging import machines_note

    assert machines_note([{"machine": "A"}, {"machine": "A"}, {}]) == []
    (note,) = machines_note([{"machine": "B"}, {"machine": "A"}])
    assert note.startswith("runs trained on 2 kinds of machine (A, B)")


def test_plans_are_not_halved_by_what_a_lost_run_lacks(study_of: Studies, scarce: list[str]) -> None:
    study = replace(study_of("out"), halving=2)
    others = tuple(replace(study.contestants[1], label=label) for label in ("erk", "uniform"))
    study = replace(study, contestants=(*study.contestants, *others))
    scarce += ["1"]
    job = job_of(study, EngineOptions(retries=0))
    with pytest.raises(AdvisorError, match=r"erk-0 is needed to halve the plans: its worker died once in epoch 1"):
        run_all(job)
