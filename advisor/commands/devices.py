"""`advisor devices`: the profiles at hand, and what runs fast here."""

from __future__ import annotations

from typing import Any

import click

from advisor.commands.options import json_option, table


@click.command()
@click.argument("files", nargs=-1, type=click.Path())
@json_option
def devices(files: tuple[str, ...]) -> tuple[dict[str, Any], str]:
    """List the profiles that came with the package, and FILES of your own: name, origin, error.

    \b
    Examples
      advisor devices
      advisor devices r50.json --json
    """
    from advisor.devices.profile import list_profiles, load_profile

    profiles = [load_profile(name) for name in (*list_profiles(), *files)]
    document = {"profiles": [profile.summary() for profile in profiles]}
    rows = []
    for item in document["profiles"]:
        error = item["error"].get("median_percent") if item["error"] else None
        rows.append(
            [
                item["name"],
                item["origin"],
                item["device"],
                item["settings"],
                str(item["measurements"]),
                f"{error:.1f} %" if error is not None else "unmeasured",
            ]
        )
    headers = ["profile", "origin", "device", "settings", "measured", "median error"]
    text = table(headers, rows, right=(4,))
    return document, text + "\n\nMake one for this machine: advisor profile MODEL --device cpu --out my-machine.json"
