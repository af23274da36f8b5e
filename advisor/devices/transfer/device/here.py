"""The handful of pieces for a device profile's transfer, run on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from advisor.devices.settings import this_machine
from advisor.devices.transfer.device.carry import usable
from advisor.devices.transfer.device.design import Asked, choose_pieces
from advisor.errors import ProfileError
from advisor.runtime.methods import kernels, why_no_kernels

if TYPE_CHECKING:
    from advisor.devices.profile import Profile
    from advisor.devices.settings import Machine
    from advisor.devices.suite.table import Table

_ON_THE_CLOCK = 0.6  # of a piece's time; the rest goes into drawing and preparing it
Runner = Callable[[Asked, float], dict[str, Any] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What `transfer_device` asks for."""

    records: tuple[dict[str, Any], ...]
    machine: Machine
    kernels: str
    notes: tuple[str, ...]


def run_pieces(
    profile: Profile,
    *,
    count: int = 30,
    threads: int | None = None,
    seconds: float = 60.0,
    runner: Runner | None = None,
    say: Callable[[str], object] | None = None,
) -> Taken:
    """Runs what `choose_pieces` names of a device profile.

    Args:
        threads: the profile's tables of so many threads alone; otherwise all that this machine has the cores for.
        seconds: about how long in all.
        runner: runs one piece for about so many seconds on the clock; None: there is no such piece. The suite's own
            otherwise.
        say: told how far it is.

    Raises:
        ProfileError: it holds no table that can be carried over to this machine.
    """
    machine, present = this_machine("cpu"), kernels("cpu")
    tables, notes = _tables(profile, threads, machine.cores, present)
    asked = choose_pieces([usable(table, present) for table in tables], count)
    served = {(one.threads, one.training) for one in asked}
    notes += [
        f"{table.text}: not carried over, {count} pieces are too few for it"
        for table in tables
        if (table.threads, table.training) not in served
    ]
    runner = runner or suite_runner()
    records = []
    for index, one in enumerate(asked):
        found = runner(one, _ON_THE_CLOCK * seconds / len(asked))
        if found is not None:
            records.append({"key": one.key, **found})
        if say is not None and (index + 1 == len(asked) or index % 5 == 4):
            say(f"{index + 1} of {len(asked)} pieces ran")
    return Taken(records=tuple(records), machine=machine, kernels=present, notes=tuple(notes))


def _tables(profile: Profile, threads: int | None, cores: int, present: str) -> tuple[Sequence[Table], list[str]]:
    made = profile.settings
    if not profile.tables or made is None:
        raise ProfileError(f"profile {profile.name!r} is no device profile (advisor profile --suite)")
    fit = [table for table in profile.tables if (table.threads == threads if threads else table.threads <= cores)]
    if not fit:
        held = ", ".join(table.text for table in profile.tables)
        asked = f"asked for {threads} threads" if threads else f"this machine has {cores} cores"
        raise ProfileError(
            f"profile {profile.name!r} holds {held}; {asked}: make a profile here (advisor profile --suite)"
        )
    notes = [
        f"{table.text}: not carried over, this machine has {cores} cores"
        for table in profile.tables
        if not threads and table.threads > cores
    ]
    if made.kernels and not present:
        notes.append(
            f"sparse layers are not carried over: the first profile ran them by sparse kernels ({made.kernels}), and "
            f"here there are none ({why_no_kernels('cpu')})"
        )
    elif present and not made.kernels:
        notes.append(
            f"the first profile holds no sparse layers, so this one tells nothing of the kernels here ({present})"
        )
    elif present != made.kernels:
        notes.append(f"sparse layers ran by kernels {made.kernels} there and by {present} here; their ratio is in it")
    return fit, notes


def suite_runner() -> Runner:
    """Runs pieces as the suite does."""
    from advisor.devices.suite.measure import run_piece
    from advisor.devices.suite.reference import reference_call

    references = reference_call(), reference_call(training=True)

    def runner(one: Asked, seconds: float) -> dict[str, Any] | None:
        return run_piece(one.number, one.variant, one.threads, one.training, references[one.training], seconds=seconds)

    return runner
