"""A worker's part of a trial, whichever way its events travel."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from advisor.devices.settings import cpu_threads
from advisor.errors import AdvisorError
from validation.engines.attempts import is_out_of_memory
from validation.engines.engine import Task
from validation.engines.events import Event, Teller
from validation.running.trials import run_trial

if TYPE_CHECKING:
    from validation.running.trials import Study

LAST = ("done", "mistake", "memory")  # the events that end a task


def perform(study: Study, counts: Mapping[str, Mapping[str, int]], task: Task, send: Callable[[Event], None]) -> None:
    """Runs one task and sends its events; the last is one of `LAST`.

    "done" has the `result`; "mistake" a `text` for the user, who must mend something; after "memory" this process had
    better end, since what filled it may still be there.
    """
    try:
        contestant = next(one for one in study.contestants if one.label == task.label)
        with cpu_threads(study.threads):
            result = run_trial(study, contestant, task.seed, counts[task.label], Teller(send), until=task.until)
        send({"event": "done", "result": result})
    except Exception as error:
        send(mishap(error))


def mishap(error: Exception) -> Event:
    """The event that an exception ends a task with."""
    text = " ".join(str(error).split()) or type(error).__name__
    if is_out_of_memory(error):
        return {"event": "memory", "text": f"out of memory: {text[:160]}"}
    if not isinstance(error, AdvisorError):
        frames = traceback.extract_tb(error.__traceback__)
        place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
        text = f"{type(error).__name__}{place}: {text[:300]}"
    return {"event": "mistake", "text": text}


def task_to_json(task: Task) -> dict[str, Any]:
    return {"label": task.label, "seed": task.seed, "until": task.until}


def task_from_json(document: Mapping[str, Any]) -> Task:
    return Task(label=document["label"], seed=document["seed"], until=document["until"])
