"""From any table to a profile, and from a profile to a table: which kind a file is, and what it needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from advisor.devices.tables import nn_meter, own, spdy, spdy_lines
from advisor.devices.tables.header import through_document
from advisor.devices.tables.rows import read_rows, read_text
from advisor.errors import ProfileError

if TYPE_CHECKING:
    from advisor.devices.profile import Profile
    from advisor.network import Network

Kind = Literal["csv", "spdy", "nn-meter"]
KINDS: tuple[Kind, ...] = get_args(Kind)


def kind_of(text: str, file: str) -> Kind:
    """Which kind of table a text is.

    Raises:
        ProfileError: it looks like none of them.
    """
    if spdy_lines.looks_like(text):
        return "spdy"
    header, _, _ = read_rows(text, file)
    if "weight_shape" in header:
        return "csv"
    if nn_meter.looks_like(header):
        return "nn-meter"
    raise ProfileError(
        f"{file} row 1: got the columns {', '.join(header)[:120]}, expected those of csv ({', '.join(own.REQUIRED)}), "
        "of nn-meter (HW, CIN, COUT, KERNEL_SIZE, STRIDES, latency), or a file of spdy that begins with 'base'"
    )


def read_table(
    path: str | Path,
    *,
    kind: Kind | None = None,
    network: Network | None = None,
    pattern: spdy.Pattern | None = None,
    device: str | None = None,
    threads: int | None = None,
    machine: str | None = None,
) -> Profile:
    """The profile that a table describes, checked as one that is read from a file.

    Args:
        kind: of the table; found by its content where None.
        network: gives shapes to a table of SPDY; the others have their own.
        pattern: of a table of SPDY.
        device, threads, machine: what the times were taken under, where the table does not say.

    Raises:
        ProfileError: no such table, or its first bad row: file, row, column, got, expected.
    """
    file, text = str(path), read_text(path)
    kind = kind or kind_of(text, file)
    if kind == "spdy":
        if network is None:
            raise ProfileError(f"{file}: a table of spdy names layers without their shapes; pass --model MODEL")
        profile = spdy.from_spdy(text, file, network, pattern=pattern, threads=threads, machine=machine)
    elif kind == "nn-meter":
        profile = nn_meter.from_nn_meter(text, file, device=device, threads=threads, machine=machine)
    else:
        profile = own.from_csv(text, file, device=device, threads=threads, machine=machine)
    return through_document(profile, file)
