"""Tasks are given out, listened to, and given out again where a worker dies."""

from collections import deque
from typing import Any

import pytest

from advisor.errors import AdvisorError
from tests.validation.engines.conftest import Studies, job_of
from validation.engines import EngineOptions, Job, Task
from validation.engines.dispatch import Dispatch
from validation.training.recipe import EpochResult

TASKS = [Task(label=label, seed=seed) for seed in (0, 1) for label in ("dense", "plan")]
EPOCH = EpochResult(loss=1.0, accuracy=0.5, seconds=1.0).to_json()


class Script:
    """A crew of `workers` whose tasks go as a script says: run → what happens on each attempt."""

    def __init__(self, workers: int, script: dict[str, list[str]]) -> None:
        self.workers, self.script = workers, script
        self.given: list[str] = []
        self.most = 0
        self._busy: deque[Task] = deque()
        self._events: deque[tuple[Task | None, dict[str, Any]]] = deque()

    def room(self) -> bool:
        return len(self._busy) < self.workers

    def give(self, task: Task) -> None:
        self.given.append(task.name)
        self._busy.append(task)
        self.most = max(self.most, len(self._busy))

    def listen(self) -> tuple[Task | None, dict[str, Any]]:
        if not self._events:
            task = self._busy[0]
            what = self.script.get(task.name) or ["done"]
            self._events.append((task, {"event": "start", "run": task.name, "epochs": 3}))
            self._events.append((None, {"event": "say", "text": "a line for people"}))
            for word in what.pop(0).split():
                self._events.append((task, self._event(word, task)))
        found, event = self._events.popleft()
        if found is not None and event["event"] not in ("start", "saved"):
            self._busy.remove(found)
        return found, event

    @staticmethod
    def _event(word: str, task: Task) -> dict[str, Any]:
        events = {
            "saved": {"history": [EPOCH]},
            "died": {"text": "killed by SIGKILL"},
            "memory": {"text": "out of memory"},
            "mistake": {"text": "no such file"},
            "done": {"result": {"plan": task.label, "seed": task.seed, "accuracy": 1.0}},
        }
        return {"event": word} | events[word]


@pytest.fixture
def job(study_of: Studies) -> Job:
    return job_of(study_of("out"), EngineOptions(retries=1))


def results(job: Job, script: Script) -> dict[str, Any]:
    return {f"{one['plan']}-{one['seed']}": one for one in Dispatch(job, script).run(TASKS)}


def test_every_task_once_and_no_more_at_once_than_there_is_room(job: Job) -> None:
    crew = Script(2, {})
    assert list(results(job, crew)) == ["dense-0", "plan-0", "dense-1", "plan-1"]
    assert crew.given == ["dense-0", "plan-0", "dense-1", "plan-1"]
    assert crew.most == 2


def test_a_task_whose_worker_died_goes_first(job: Job) -> None:
    crew = Script(1, {"dense-0": ["died", "saved died", "done"]})
    found = results(job, crew)
    assert crew.given == ["dense-0"] * 3 + ["plan-0", "dense-1", "plan-1"], "after an epoch more it may die once more"
    assert found["dense-0"]["accuracy"] == 1.0


def test_too_many_deaths_are_a_result(job: Job) -> None:
    crew = Script(1, {"plan-0": ["memory", "saved died", "died"]})
    found = results(job, crew)
    assert found["plan-0"]["lost"]
    assert found["plan-0"]["epochs"] == [EPOCH]
    assert "2 times in epoch 2, the last time: killed by SIGKILL" in found["plan-0"]["problem"]
    assert [one["accuracy"] for name, one in found.items() if name != "plan-0"] == [1.0] * 3


def test_a_mistake_is_the_users_to_mend(job: Job) -> None:
    with pytest.raises(AdvisorError, match="plan-0: no such file"):
        results(job, Script(2, {"plan-0": ["mistake"]}))


def test_what_is_known_is_not_given_out(job: Job) -> None:
    from validation.engines.in_turn import InTurn

    (known,) = InTurn(job).run([TASKS[1]])
    crew = Script(2, {})
    assert results(job, crew)["plan-0"] == known
    assert crew.given == ["dense-0", "dense-1", "plan-1"]
