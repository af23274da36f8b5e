"""Where trials run: in this process, in processes of this machine, on a Ray cluster. `engine.py` is the way in."""

from validation.engines.engine import (
    HERE,
    Engine,
    EngineOptions,
    Job,
    Result,
    Task,
    check_engine,
    check_place,
    open_engine,
    threads_of,
)

__all__ = [
    "HERE",
    "Engine",
    "EngineOptions",
    "Job",
    "Result",
    "Task",
    "check_engine",
    "check_place",
    "open_engine",
    "threads_of",
]
