"""Spending the time of a measuring run: the whole network first and last, between them the most telling work first."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from advisor.devices.document import execution_document
from advisor.devices.measuring.todo import Todo
from advisor.errors import KernelError, ProfileError

if TYPE_CHECKING:
    from advisor.devices.inplace.template import Choice
    from advisor.devices.measuring.journal import Journal
    from advisor.devices.measuring.lookout import Lookout
    from advisor.devices.measuring.progress import Progress
    from advisor.devices.measuring.session import Session
    from advisor.devices.measuring.work import Task

START, END = "whole:start", "whole:end"
_PASS_SECONDS = (0.3, 2.0)  # of one pass, where time is short and where it is not


def deadline_of(journal: Journal, budget_seconds: float | None, began: float) -> float | None:
    """When to stop, by `time.perf_counter`. What interrupted runs spent, set-up included, counts."""
    if budget_seconds is None:
        return None
    return began + max(budget_seconds - sum(float(record["seconds"]) for record in journal.records), 0.0)


def spend(
    session: Session,
    journal: Journal,
    tasks: list[Task],
    bar: Progress,
    *,
    began: float,
    deadline: float | None,
    lookout: Lookout | None = None,
) -> None:
    """Measures what the journal lacks until all is done or the time is spent; the dense network in any case.

    Where layers are timed in place, one pass over the network tells of a sparse form of every layer; what cannot run in
    place is timed alone, and then dense layers, too, so that both can be compared. Passes and single executions take
    turns by what they are worth in the time that they take.

    Args:
        tasks: in the order of what knowing them is worth.
        began: when this run began (`time.perf_counter`), so that its set-up is in the first record's seconds.
        lookout: says after each pass what is worth measuring next.
        deadline: when to stop; overrun by at most the measurement in hand and the last look at the whole network.
    """
    held = {record["key"] for record in journal.records}
    todo = Todo(session, tasks, journal.records, lookout)
    mark = began

    def record(key: str, found: dict[str, Any]) -> None:
        nonlocal mark
        now = time.perf_counter()
        journal.append({"key": key, **found, "seconds": now - mark})
        mark = now

    with bar:
        bar.skip(todo.done, deadline)
        seconds = _share(deadline, parts=7, most=15.0, least=0.3)
        reserve = 0.0 if END in held else seconds
        if START in held:
            bar.skip(1, deadline)
        else:
            start = time.perf_counter()
            record(START, session.whole(seconds))
            reserve = max(reserve, time.perf_counter() - start)  # the last look takes as long as the first
            bar.step("whole network", deadline, count=1 + todo.seen_in_place())
        # The last look at the whole network gets its time whatever the rest would still like.
        until = None if deadline is None else deadline - 1.1 * reserve  # drawing the sums takes a little, too
        while (job := todo.next()) is not None:
            if until is not None and todo.anything and time.perf_counter() + todo.lasts(job) >= until:
                break
            start = time.perf_counter()
            if isinstance(job, dict):
                allowed = _share(until, parts=2 * todo.passes_left, least=_PASS_SECONDS[0], most=_PASS_SECONDS[1])
                key, found = f"pass:{todo.passes}", _pass(session, todo, job, allowed)
                text = f"pass {todo.passes + 1}: {len(job)} layers at once"
            else:
                allowed = _share(until, parts=todo.alone_left + 4 * todo.passes_left, most=1.5, least=0.02)
                key, found = job.execution.key, _time(session, job, allowed)
                text = key
            record(key, found)
            bar.step(text, deadline, count=todo.tell(journal.records[-1], time.perf_counter() - start))
        for number, choices in enumerate(todo.noisy(journal.records)):
            # What something else disturbed is measured once more; one such pass costs what it did before.
            if until is not None and time.perf_counter() + todo.lasts(choices) >= until:
                break
            record(f"pass:{todo.passes + number}", _pass(session, todo, choices, _PASS_SECONDS[1]) | {"again": True})
            bar.step("a disturbed pass again", deadline, count=0)
        if END not in held:
            record(END, session.whole(seconds))
        bar.step("whole network again", deadline)


def _pass(session: Session, todo: Todo, choices: dict[str, Choice], seconds: float) -> dict[str, Any]:
    try:
        return session.candidates(choices, seconds)
    except (RuntimeError, KernelError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        return {"failed": reason, "tried": todo.keys_of(choices)}


def _time(session: Session, task: Task, seconds: float) -> dict[str, Any]:
    execution = {"execution": execution_document(task.execution)}
    try:
        # Others are reckoned from every dense layer, so it gets twice the time.
        return execution | session.execution(task.execution, seconds * (2 if task.dense else 1))
    except (RuntimeError, KernelError) as error:
        # Too little memory, or a shape that this device's library or kernels refuse.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        if task.dense:
            raise ProfileError(f"{task.execution.key} does not run on this device: {reason}") from error
        return execution | {"failed": reason}


def _share(deadline: float | None, *, parts: int, most: float, least: float) -> float:
    """One of `parts` equal shares of the time until the deadline, within bounds; `most` without a deadline."""
    if deadline is None:
        return most
    return min(max((deadline - time.perf_counter()) / max(parts, 1), least), most)
