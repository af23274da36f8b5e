"""The options of the command line that say where runs happen."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

from validation.engines.engine import RETRIES, EngineOptions

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--engine",
        default="local",
        show_default=True,
        metavar="local|ray",
        help="Where runs happen: this machine, or a Ray cluster.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(min=1),
        metavar="N",
        help="Runs at once; 1, or all that a cluster has room for.",
    ),
    click.option(
        "--address", metavar="HOST:PORT", help="A Ray cluster to join, or auto; one is started here otherwise."
    ),
    click.option(
        "--gpus-per-run",
        type=click.FloatRange(min=0),
        metavar="X",
        help="With Ray: the part of a GPU that a run takes, such as 0.25; a whole one with --device cuda.",
    ),
    click.option(
        "--retries",
        default=RETRIES,
        show_default=True,
        type=click.IntRange(min=0),
        help="How often a run may lose its worker in the same epoch before it is given up.",
    ),
)


def engine_options(function: F) -> F:
    """Adds the options; the command gets them as one, `engine`."""

    @functools.wraps(function)
    def wrapper(
        *args: Any,
        engine: str,
        workers: int | None,
        address: str | None,
        gpus_per_run: float | None,
        retries: int,
        **kwargs: Any,
    ) -> Any:
        chosen = EngineOptions(
            name=engine, workers=workers, address=address, gpus_per_run=gpus_per_run, retries=retries
        )
        return function(*args, engine=chosen, **kwargs)

    for option in reversed(_OPTIONS):
        wrapper = option(wrapper)
    return wrapper  # type: ignore[return-value]
