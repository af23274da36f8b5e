"""`advisor plan --table FILE`: which options of the command say something about a table that stands alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from advisor.errors import PlanError

if TYPE_CHECKING:
    from advisor.planning.table import CostTable

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--table",
        "table_file",
        metavar="FILE",
        help="Plan a table of your own instead of MODEL: a CSV with layer, density, loss and costs, or SPDY's timings.",
    ),
    click.option(
        "--losses",
        metavar="FILE|PRIOR",
        help="Losses for timings: a CSV (layer, sparsity, loss), or log (the default), log-time, quadratic.",
    ),
)
# What says nothing about a table alone, by the names of the command's arguments.
_OF_NETWORKS = frozenset(
    [
        *("model", "profile_name", "sensitivity", "selection", "weights", "data", "examples", "data_dir", "exchange"),
        *("rounding", "seed", "include_ends", "input_text", "refine", "seconds", "validate_rounds"),
    ]
)


def table_options(function: F) -> F:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def open_table_alone(path: str, losses: str | None) -> CostTable:
    """The table of `--table`, where nothing else was asked that only a network can answer.

    Raises:
        PlanError: MODEL or such an option was given, too, or the file is no table.
    """
    from advisor.planning.tables.files import open_table

    context = click.get_current_context()
    for name in context.params:
        source = context.get_parameter_source(name)
        if name in _OF_NETWORKS and source is click.core.ParameterSource.COMMANDLINE:
            text = "MODEL" if name == "model" else next(o.opts[0] for o in context.command.params if o.name == name)
            raise PlanError(f"{text} says nothing about a table, which has its own layers and numbers; leave it out")
    return open_table(path, losses)
