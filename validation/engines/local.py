"""The engine "local": this machine, in this process where one run at a time is wanted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from validation.engines.engine import Engine, Job, register_engine
from validation.engines.in_turn import InTurn


@register_engine("local")
@contextmanager
def on_this_machine(job: Job) -> Iterator[Engine]:
    """One run after the other."""
    yield InTurn(job)
