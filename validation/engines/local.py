"""The engine "local": this machine, with one run at a time or several."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from validation.engines.dispatch import Dispatch
from validation.engines.engine import Engine, Job, register_engine
from validation.engines.in_turn import InTurn


@register_engine("local")
@contextmanager
def on_this_machine(job: Job) -> Iterator[Engine]:
    """One run after the other in this process, or several at once in processes of their own."""
    workers = job.options.workers or 1
    if workers == 1:
        yield InTurn(job)
        return
    from validation.engines.processes import processes

    with processes(job, workers) as crew:
        yield Dispatch(job, crew)
