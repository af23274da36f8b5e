"""Options that several commands share, and the rule that `--json` leaves standard output to one document."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import click
from tabulate import tabulate

from advisor.quiet import c_prints_to_stderr

F = TypeVar("F", bound=Callable[..., Any])

model_argument = click.argument("model")
input_option = click.option(
    "--input", "input_text", metavar="1x3x224x224", help="Shape of the example input; the network's own by default."
)
profile_option = click.option("--profile", "profile_name", metavar="P", help="A profile's name or file.")
threads_option = click.option("--threads", type=click.IntRange(min=1), help="CPU threads; torch's default otherwise.")
patterns_option = click.option(
    "--patterns",
    metavar="A,B",
    help="Patterns to choose from: channel, group, width, block, n:m, unstructured; "
    "width+channel and so on for both at once; hierarchical, for attention over image tokens.",
)
ends_option = click.option(
    "--include-ends", is_flag=True, help="Let the first (image) convolution and the classifier be thinned out too."
)


def json_option(function: F) -> F:
    """Adds `--json`. The command returns (document, text): one of them is printed, all else goes to stderr."""

    @click.option(
        "--json", "as_json", is_flag=True, help="One JSON document on standard output and nothing else there."
    )
    @functools.wraps(function)
    def wrapper(*args: Any, as_json: bool, **kwargs: Any) -> None:
        with _stdout_to_stderr():
            document, text = function(*args, **kwargs)
        click.echo(json.dumps(finite(document), indent=1) if as_json else text)

    return wrapper  # type: ignore[return-value]


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    # Libraries print where they like, the solver even from C; only the result may reach standard output.
    with contextlib.redirect_stdout(sys.stderr), c_prints_to_stderr():
        yield


def finite(value: Any) -> Any:
    """The same document with NaN and infinities as null, since JSON has neither."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def table(headers: Sequence[str], rows: Sequence[Sequence[Any]], right: Sequence[int] = ()) -> str:
    """A plain text table; columns in `right` are aligned to the right."""
    align = ["right" if column in right else "left" for column in range(len(headers))]
    return tabulate(rows, headers=headers, tablefmt="simple", colalign=align if rows else None, disable_numparse=True)


def split_names(text: str | None) -> tuple[str, ...] | None:
    """`"channel,group"` → ("channel", "group"); None stays None."""
    if text is None:
        return None
    return tuple(name.strip() for name in text.split(",") if name.strip())


def big(number: float) -> str:
    """1234567 → "1.23 M"."""
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= limit:
            return f"{number / limit:.2f} {unit}"
    return f"{number:.0f}"


def shape_text(shape: Sequence[int]) -> str:
    return "x".join(str(size) for size in shape)
