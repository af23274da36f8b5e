"""`advisor transfer`: a profile for another machine from a handful of times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from advisor.commands.options import json_option, table, threads_option

if TYPE_CHECKING:
    from advisor.devices.profile import Profile
    from advisor.network import Network


@click.command()
@click.argument("profile_name", metavar="PROFILE")
@click.option("--out", metavar="FILE", help="The profile to write.")
@click.option("--measure", "count", default=30, show_default=True, type=click.IntRange(min=1), help="How many times.")
@click.option("--list", "listed", is_flag=True, help="Print what to time elsewhere, as CSV, and do nothing else.")
@click.option("--measured", metavar="CSV", help="The times taken elsewhere: that list, its column ms filled in.")
@click.option("--machine", metavar="NAME", help="Where they were taken, unless the CSV says so.")
@click.option("--device", metavar="cpu|cuda[:i]", help="What to time here; the profile's kind of device otherwise.")
@click.option("--seconds", default=60.0, show_default=True, type=click.FloatRange(min=0, min_open=True), metavar="S")
@threads_option
@json_option
def transfer(
    profile_name: str,
    out: str | None,
    count: int,
    listed: bool,
    measured: str | None,
    machine: str | None,
    device: str | None,
    seconds: float,
    threads: int | None,
) -> tuple[dict[str, Any], str]:
    """Carry PROFILE over to another machine by timing a handful of its layers there.

    Chosen are pieces of work that stand for all others. Here they are timed for about --seconds; for a phone or a
    remote machine --list prints them, and --measured takes their times back. The new profile shows how far it is off:
    each of the new times left out in turn.

    A device profile (advisor profile --suite) is carried over by pieces of its suite that run here: 3 or more, and all
    settings that it holds where they are 12 and more.

    \b
    Examples
      advisor transfer r50.json --out here.json
      advisor transfer r50.json --list > times.csv          (fill in the column ms, and "# machine:")
      advisor transfer r50.json --measured times.csv --out phone.json
    """
    from dataclasses import replace
    from pathlib import Path

    from advisor.devices.profile import load_profile
    from advisor.devices.tables.own import execution_csv, from_filled
    from advisor.devices.tables.rows import read_text
    from advisor.devices.transfer.carry import transfer as carried
    from advisor.devices.transfer.design import choose
    from advisor.devices.transfer.here import measure_here

    profile = load_profile(profile_name)
    if profile.tables:
        _refuse_with_tables(listed, measured, device)
        if not out:
            raise click.UsageError("--out FILE is missing: where to write the new profile")
        return _device(profile, out, count=count, threads=threads, seconds=seconds, machine=machine)
    if listed:
        if out or measured:
            raise click.UsageError("--list prints what to time and writes nothing; leave out --out and --measured")
        asked = choose(profile, count)
        text = execution_csv(asked)
        return {"profile": profile.name, "executions": [e.key for e in asked], "csv": text}, text.rstrip("\n")
    if not out:
        raise click.UsageError("--out FILE is missing: where to write the new profile; or --list what to time")
    notes: tuple[str, ...] = ()
    if measured:
        if device is not None:
            raise click.UsageError("--device says what to time here, --measured that it was timed elsewhere; give one")
        found = from_filled(read_text(measured), measured, threads=threads, machine=machine)
        times = {m.execution: m for m in found.measurements.values()}
        where, settings = found.machine, found.settings
        if settings is not None and profile.settings is not None:
            settings = replace(
                settings, batch=profile.settings.batch, dtype=profile.settings.dtype, training=profile.settings.training
            )
    else:
        times, where, settings, notes = measure_here(
            profile,
            count=count,
            threads=threads,
            device=device,
            seconds=seconds,
            say=lambda text: click.echo(text, err=True),
        )
        where = replace(where, name=machine) if machine else where
    made = carried(profile, times, machine=where, settings=settings, name=Path(out).stem, networks=_networks(profile))
    made = replace(made, notes=(*notes, *made.notes)[:100])
    made.save(out)
    return {"out": out, **made.summary(), "timed": len(times)}, _text(made, len(times), out)


def _refuse_with_tables(listed: bool, measured: str | None, device: str | None) -> None:
    """Pieces of networks cannot be timed by hand, and the suite is one for CPUs."""
    from advisor.errors import ProfileError

    for option, given in (("--list", listed), ("--measured", measured), ("--device", device not in (None, "cpu"))):
        if given:
            raise ProfileError(
                f"{option} is for profiles of one network: a device profile is carried over by pieces of its suite, "
                "which run on the CPU of the new machine; start advisor transfer there"
            )


def _device(
    profile: Profile, out: str, *, count: int, threads: int | None, seconds: float, machine: str | None
) -> tuple[dict[str, Any], str]:
    from dataclasses import replace
    from pathlib import Path

    from advisor.devices.measuring.measure import check_out
    from advisor.devices.transfer.device.carry import transfer_device
    from advisor.devices.transfer.device.here import run_pieces

    check_out(Path(out))
    taken = run_pieces(
        profile, count=count, threads=threads, seconds=seconds, say=lambda text: click.echo(text, err=True)
    )
    made = transfer_device(
        profile,
        taken.records,
        machine=replace(taken.machine, name=machine) if machine else taken.machine,
        kernels=taken.kernels,
        name=Path(out).stem,
        notes=taken.notes,
    )
    made.save(out)
    keys = ("timed_pieces", "whole_median_percent", "one_factor_whole_median_percent", "whole_within_10_percent")
    rows = [[found.text, *(str(found.error[key]) for key in keys)] for found in made.tables]
    parts = [
        f"{len(taken.records)} pieces ran on {made.machine.name if made.machine else 'this machine'}: {made.source}",
        table(["", "pieces", "off by (median)", "by one factor", "within 10 %"], rows, right=(1, 2, 3, 4)),
        "whole pieces left out of the transfer: predicted against measured, in %",
        *(f"note: {note}" for note in made.notes),
        f"wrote {out}",
    ]
    tables = [{"threads": found.threads, "training": found.training, **found.error} for found in made.tables]
    return {"out": out, **made.summary(), "timed": len(taken.records), "tables": tables}, "\n".join(parts)


def _networks(profile: Profile) -> dict[str, Network]:
    """Those of the profile's networks that can be built by name."""
    from advisor.commands.network import open_network
    from advisor.devices.measuring.work import network_hash
    from advisor.errors import AdvisorError

    found = {}
    for key, whole in profile.networks.items():
        if whole.model.partition(":")[0] not in ("torchvision", "timm", "zoo") or len(whole.input_shapes) != 1:
            continue  # a user's own file is not run without being asked for
        try:
            network = open_network(whole.model, "x".join(map(str, whole.input_shapes[0])))
        except AdvisorError:
            continue
        if not whole.network_hash or network_hash(network) == whole.network_hash:
            found[key] = network
    return found


def _text(made: Profile, count: int, out: str) -> str:
    error = made.error or {}
    rows = [
        [name, *(f"{error[f'{prefix}{kind}_percent']:.1f} %" for kind in ("mean", "median", "p90"))]
        for name, prefix in (("as carried over", ""), ("by one factor", "one_factor_"))
        if f"{prefix}mean_percent" in error
    ]
    parts = [f"{count} times on {made.machine.name if made.machine else 'the new machine'}: {made.source}"]
    if rows:
        parts.append(table(["times left out, off by", "mean", "median", "90 % within"], rows, right=(1, 2, 3)))
    parts += [f"{whole.key}: {whole.median_ms:.3f} ms ({whole.low_ms:.3f} to {whole.high_ms:.3f})"
              for whole in made.networks.values()]  # fmt: skip
    parts += [f"note: {note}" for note in made.notes]
    return "\n".join([*parts, f"wrote {out}"])
