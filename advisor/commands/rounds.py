"""Options of `advisor plan` that measure or train the plan, and plan again."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from advisor.errors import PlanError

if TYPE_CHECKING:
    from advisor.network import Network
    from advisor.plans.plan import Plan

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--refine",
        type=click.IntRange(min=1),
        metavar="N",
        help="Time the plan, correct the table and plan again, until the measured cost meets the budget; N rounds.",
    ),
    click.option(
        "--seconds",
        default=20.0,
        show_default=True,
        type=click.FloatRange(min=0, min_open=True),
        metavar="S",
        help="Of each timing, with --refine.",
    ),
    click.option(
        "--validate-rounds",
        type=click.IntRange(min=1),
        metavar="N",
        help="Train the plan shortly (advisor validate), learn what layers are worth, and plan again; N rounds.",
    ),
    click.option(
        "--validate-out",
        metavar="DIR",
        help="Folder of those runs and of what they teach; the same folder goes on where it stopped.",
    ),
    click.option(
        "--validate-with",
        default="",
        metavar="OPTIONS",
        help="Further options of validate, as '--data cluttered --epochs 2 --seeds 2'.",
    ),
)


def rounds_options(function: F) -> F:
    """Adds the options; the command gets them as one argument `rounds`, for `in_rounds(**rounds)`."""
    names = ("refine", "seconds", "validate_rounds", "validate_out", "validate_with")

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, rounds={name: kwargs.pop(name) for name in names}, **kwargs)

    for option in reversed(_OPTIONS):
        wrapper = option(wrapper)
    return wrapper  # type: ignore[return-value]


def in_rounds(
    network: Network,
    model: str,
    asked: dict[str, Any],
    *,
    refine: int | None,
    seconds: float,
    validate_rounds: int | None,
    validate_out: str | None,
    validate_with: str,
    profile_name: str | None,
) -> Plan:
    """The plan: as it is, or after rounds of training, of measuring, or of both in this order.

    Args:
        network: that is planned.
        model: its name, as `validate` takes it.
        asked: the arguments of `advisor.plan`.
        refine, seconds, validate_rounds, validate_out, validate_with, profile_name: as on the command line.

    Raises:
        AdvisorError: as `advisor.plan`, `advisor.refine` and `advisor validate`.
    """
    import advisor

    if validate_rounds is None and (validate_out is not None or validate_with):
        raise PlanError("--validate-out and --validate-with say how to train; they need --validate-rounds N")
    made: Plan | None = None
    if validate_rounds is not None:
        from advisor.refining.training import learn

        train = _trainer(model, validate_out, validate_with, asked.get("responses"), profile_name)
        learnt = learn(network, rounds=validate_rounds, train=train, report=_say, **asked)
        made, asked = learnt.plan, asked | {"sensitivity": "trained", "responses": learnt.responses}
    if refine is not None:
        refined = advisor.refine(network, rounds=refine, seconds=seconds, report=_say, **asked)
        return refined if made is None else with_rounds_of(refined, made)
    return made if made is not None else advisor.plan(network, **asked)


def with_rounds_of(refined: Plan, trained: Plan) -> Plan:
    """A refined plan that also records the rounds of training before it, none of whose plans it is."""
    from dataclasses import replace

    earlier = tuple(replace(line, kept=False) for line in trained.rounds)
    return replace(refined, rounds=(*earlier, *refined.rounds))


def _say(line: str) -> None:
    click.echo(line, err=True)


def _trainer(
    model: str, out: str | None, further: str, collection: str | None, profile_name: str | None
) -> Callable[[Plan, int], Path]:
    """Runs `advisor validate` as it was installed, which this package knows as a command alone."""
    if out is None:
        raise PlanError("--validate-rounds needs a folder for its runs: --validate-out DIR")
    from advisor.cli import cli

    command = cli.get_command(click.get_current_context(), "validate")
    if command is None:
        raise PlanError("command 'validate' is not installed here; reinstall the package sparsity-advisor")
    try:
        more = shlex.split(further)
    except ValueError as error:
        raise PlanError(f"--validate-with {further!r}: {error}; expected options as '--epochs 2 --seeds 2'") from None
    folder = Path(out)
    known = Path(collection) if collection else folder / "responses.json"

    def train(plan: Plan, number: int) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        place = folder / f"round-{number}.json"
        plan.save(place)
        words = [model, "--plan", str(place), "--out", str(folder / f"round-{number}"), "--responses", str(known)]
        words += ["--profile", profile_name] if profile_name else []
        _say(f"round {number}: training; advisor validate {shlex.join([*words, *more])}")
        command.main(args=[*words, *more], prog_name="advisor validate", standalone_mode=False)
        return known

    return train
