"""`advisor devices`: the profiles at hand, and what runs fast here."""

from __future__ import annotations

from typing import Any

import click

from advisor.commands.options import json_option, table


@click.command()
@click.argument("files", nargs=-1, type=click.Path())
@click.option("--check", "checked", metavar="PROFILE", help="Time a few of its layers again: does it still fit?")
@click.option("--device", metavar="cpu|cuda[:i]", help="Where to check; the profile's kind of device otherwise.")
@click.option("--seconds", default=10.0, show_default=True, type=click.FloatRange(min=0, min_open=True), metavar="S")
@json_option
def devices(
    files: tuple[str, ...], checked: str | None, device: str | None, seconds: float
) -> tuple[dict[str, Any], str]:
    """List the profiles at hand, with name, origin and error; then this machine, its kernels, and how patterns run.

    Profiles are those that came with the package, those in this folder, and FILES of your own.

    --check times three dense layers of one profile again, and a sparse one where it has some, for about --seconds, and
    says whether it fits: its times hold, all are off by one factor, or it should be made anew.

    \b
    Examples
      advisor devices
      advisor devices r50.json --json
      advisor devices --check r50.json
    """
    if checked is not None:
        if files:
            raise click.UsageError("--check takes one profile and no FILES beside it; run it once for each")
        return _check(checked, device, seconds)
    if device is not None:
        raise click.UsageError("--device says where to --check a profile; give both, or neither")
    from dataclasses import asdict
    from pathlib import Path

    from advisor.devices.here import gpu_kernels_here, kernels_here, pattern_runs, profiles_in
    from advisor.devices.profile import list_profiles, load_profile
    from advisor.devices.settings import check_device, this_machine
    from advisor.errors import AdvisorError, DeviceError

    found = [{"file": None, **load_profile(name).summary()} for name in list_profiles()]
    found += [{"file": name, **load_profile(name).summary()} for name in files]
    unreadable: list[str] = []
    given = {Path(name).resolve() for name in files}
    for path in profiles_in(Path()):
        if path.resolve() in given:
            continue
        try:
            found.append({"file": str(path), **load_profile(path).summary()})
        except AdvisorError as error:
            unreadable.append(str(error))
    machines = {"cpu": asdict(this_machine("cpu"))}
    try:
        machines["cuda"] = asdict(this_machine(check_device("cuda")))
    except DeviceError as error:
        no_gpu = str(error)
    else:
        no_gpu = ""
    runs = [asdict(run) for run in pattern_runs()]
    kernels, gpu = kernels_here(), gpu_kernels_here()
    document = {
        "profiles": found,
        "unreadable": unreadable,
        "machines": machines,
        "kernels": asdict(kernels),
        "gpu_kernels": asdict(gpu),
        "patterns": runs,
    }
    return document, _text(document, f"{kernels.text()}\n{gpu.text()}", no_gpu)


def _check(name: str, device: str | None, seconds: float) -> tuple[dict[str, Any], str]:
    from advisor.devices.measuring.fit import check_fit
    from advisor.devices.profile import load_profile

    profile = load_profile(name)
    click.echo(f"timing a few layers of {profile.name!r} again for at most about {seconds:g} s", err=True)
    fit = check_fit(profile, device=device, seconds=seconds)
    rows = []
    for layer in fit.layers:
        numbers = ["", "", f"does not run: {layer.problem}"]
        if layer.ratio is not None:
            numbers = [f"{layer.now_ms:.3f}", f"{layer.ratio:.2f}", f"{layer.low:.2f} to {layer.high:.2f}"]
        rows.append([layer.role, f"{layer.profile_ms:.3f}", *numbers, layer.key])
    parts = [table(["", "profile ms", "now ms", "ratio", "interval", "layer"], rows, right=(1, 2, 3))]
    parts += [f"note: {line}" for line in fit.differences]
    parts += [f"settings: {fit.settings}", fit.advice]
    return {"file": name, **fit.to_json()}, "\n".join(parts)


def _text(document: dict[str, Any], kernels: str, no_gpu: str) -> str:
    rows = []
    for item in document["profiles"]:
        error = item["error"].get("median_percent") if item["error"] else None
        rows.append(
            [
                item["file"] or item["name"],
                item["origin"],
                item["device"],
                item["settings"],
                str(item["measurements"]),
                f"{error:.1f} %" if error is not None else "unknown",
            ]
        )
    cpu = document["machines"]["cpu"]
    parts = [table(["profile", "origin", "device", "settings", "measured", "median error"], rows, right=(4,))]
    parts += [f"note: {line}" for line in document["unreadable"]]
    parts += ["", f"this machine: {cpu['name']}, {cpu['cores']} cores, {' '.join(cpu['flags'])}, torch {cpu['torch']}"]
    parts.append(kernels)
    if "cuda" in document["machines"]:
        gpu = document["machines"]["cuda"]
        parts.append(f"GPU: {gpu['name']}, {' '.join(gpu['flags'])}")
    else:
        parts.append(no_gpu)
    runs = [[run["pattern"], run["inference"], run["training"]] for run in document["patterns"]]
    parts += ["", table(["pattern", "inference", "training"], runs)]
    parts += ["", "Make one for this machine: advisor profile MODEL --device cpu --out my-machine.json"]
    return "\n".join(parts)
