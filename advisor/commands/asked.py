"""Options that ask something of single layers or of their patterns, as `advisor.plan` takes them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from advisor.errors import PlanError

F = TypeVar("F", bound=Callable[..., Any])

_OF_LAYERS = (
    click.option(
        "--pin",
        "pins",
        multiple=True,
        metavar="LAYER=OPTION",
        help="dense, 0.25, channel, channel@0.25 or group@0.25,block=16 for a layer or a glob of layers; repeatable.",
    ),
    click.option(
        "--allow", "allowed", multiple=True, metavar="LAYER=A,B", help="Patterns that layers may take beside dense."
    ),
    click.option(
        "--forbid",
        "forbidden",
        multiple=True,
        metavar="LAYER=A,B",
        help="Patterns that layers may not take.",
    ),
    click.option(
        "--min-density", multiple=True, metavar="[LAYER=]D", help="Least density, of all layers or of those named."
    ),
    click.option(
        "--max-density", multiple=True, metavar="[LAYER=]D", help="Most density, of all layers or of those named."
    ),
)
_OF_PLANS = (
    click.option(
        "--max-patterns",
        type=click.IntRange(min=1),
        metavar="N",
        help="At most so many different patterns in the plan, dense not counted.",
    ),
    click.option(
        "--continuous", is_flag=True, help="Leave the grid of densities: relax those of the plan, round them again."
    ),
)


def layer_options(function: F) -> F:
    """Adds what can be asked of single layers; the command gets it as one argument `layers`, a mapping."""

    @functools.wraps(function)
    def wrapper(
        *args: Any,
        pins: Sequence[str],
        allowed: Sequence[str],
        forbidden: Sequence[str],
        min_density: Sequence[str],
        max_density: Sequence[str],
        **kwargs: Any,
    ) -> Any:
        asked = {
            "pins": dict(_pair(text, "--pin", "OPTION, for example layer4.*=channel@0.25") for text in pins),
            "allowed": _patterns(allowed, "--allow"),
            "forbidden": _patterns(forbidden, "--forbid"),
            "min_density": _densities(min_density, "--min-density"),
            "max_density": _densities(max_density, "--max-density"),
        }
        return function(*args, layers={name: value for name, value in asked.items() if value}, **kwargs)

    for option in reversed(_OF_LAYERS):
        wrapper = option(wrapper)
    return wrapper  # type: ignore[return-value]


def asked_options(function: F) -> F:
    """Adds these and those of whole plans; the command gets them as `asked`, arguments of `advisor.plan`."""

    @functools.wraps(function)
    def wrapper(*args: Any, layers: dict[str, Any], max_patterns: int | None, continuous: bool, **kwargs: Any) -> Any:
        more = {"max_patterns": max_patterns, "continuous": continuous}
        return function(*args, asked=layers | {name: value for name, value in more.items() if value}, **kwargs)

    for option in reversed(_OF_PLANS):
        wrapper = option(wrapper)
    return layer_options(wrapper)  # type: ignore[return-value]


def _pair(text: str, option: str, rest: str) -> tuple[str, str]:
    layer, equals, value = text.partition("=")
    if not equals or not layer.strip() or not value.strip():
        raise PlanError(f"{option} {text[:80]!r}; expected LAYER={rest}")
    return layer.strip(), value.strip()


def _patterns(texts: Sequence[str], option: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in texts:
        layer, names = _pair(text, option, "PATTERN,PATTERN, for example layer4.*=channel,group")
        found.setdefault(layer, []).extend(name.strip() for name in names.split(",") if name.strip())
    return found


def _densities(texts: Sequence[str], option: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for text in texts:
        layer, number = _pair(text if "=" in text else f"*={text}", option, "DENSITY, for example layer4.*=0.25")
        try:
            found[layer] = float(number)
        except ValueError:
            raise PlanError(
                f"{option} {text[:80]!r}: got {number[:60]!r}, expected a number above 0, up to 1"
            ) from None
    return found
