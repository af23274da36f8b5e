"""Hands tasks to workers and listens to them; starts a task again when its worker dies."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Protocol

from advisor.errors import AdvisorError
from validation.engines.attempts import Attempts
from validation.engines.engine import Job, Result, Task
from validation.engines.events import Event, hear
from validation.running.results import known_result


class Crew(Protocol):
    """Workers, in processes or on other machines."""

    def room(self) -> bool:
        """Whether another task can be given out now."""
        ...

    def give(self, task: Task) -> None:
        """Gives a task to a worker."""
        ...

    def listen(self) -> tuple[Task | None, Event]:
        """Waits for the next event of any task; None with an event for people that is nobody's.

        Beside the events of `perform` there is "died": the task's worker is no more, for the reason in `text`.
        """
        ...


class Dispatch:
    """The engine that has a crew."""

    def __init__(self, job: Job, crew: Crew) -> None:
        self._job, self._crew = job, crew
        self._attempts = Attempts(job.options.retries)

    def run(self, tasks: Sequence[Task]) -> Iterator[Result]:
        study, monitor = self._job.study, self._job.monitor
        waiting: deque[Task] = deque()
        for task in tasks:
            known = known_result(study, task.label, task.seed, until=task.until)
            if known is None:
                waiting.append(task)
            else:
                yield known
        given: set[Task] = set()
        while waiting or given:
            while waiting and self._crew.room():
                task = waiting.popleft()
                given.add(task)
                self._crew.give(task)
            found, event = self._crew.listen()
            if found is None:
                monitor.say(event["text"])
            elif event["event"] == "done":
                given.remove(found)
                yield event["result"]
            elif event["event"] == "mistake":
                raise AdvisorError(f"{found.name}: {event['text']}")
            elif event["event"] in ("died", "memory"):
                given.remove(found)
                lost = self._died(found, event["text"])
                if lost is None:
                    waiting.appendleft(found)
                else:
                    yield lost
            else:
                hear(event, monitor.of(found.name))

    def _died(self, task: Task, reason: str) -> Result | None:
        """What is reported of a run whose worker died; None where it tries again."""
        history = self._job.monitor.of(task.name).drop()
        if not self._attempts.died(task, len(history)):
            return self._attempts.lost(task, self._job.counts[task.label], history, reason)
        self._job.monitor.say(f"{task.name}: its worker died ({reason}); it goes on after epoch {len(history)}")
        return None
