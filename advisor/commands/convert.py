"""`advisor convert`: profiles to and from tables."""

from __future__ import annotations

from typing import Any

import click

from advisor.commands.options import input_option, json_option, threads_option

KINDS = ("csv", "spdy", "nn-meter")


@click.command()
@click.argument("source")
@click.option("--out", required=True, metavar="FILE", help="The profile (.json) or the table (.csv) to write.")
@click.option("--model", metavar="MODEL", help="The network whose layers a table of spdy names.")
@click.option("--kind", type=click.Choice(KINDS), help="What SOURCE is; found by its content otherwise.")
@click.option(
    "--pattern", type=click.Choice(("unstructured", "block")), help="Of a table of spdy; by its name otherwise."
)
@click.option("--device", type=click.Choice(("cpu", "cuda")), help="What the times are of, where SOURCE does not say.")
@click.option("--machine", metavar="NAME", help="Whose times they are, where SOURCE does not say.")
@threads_option
@input_option
@json_option
def convert(
    source: str,
    out: str,
    model: str | None,
    kind: str | None,
    pattern: str | None,
    device: str | None,
    machine: str | None,
    threads: int | None,
    input_text: str | None,
) -> tuple[dict[str, Any], str]:
    """Turn a table of times into a profile, or a profile into a table.

    \b
    SOURCE is one of
      a profile        written as a CSV with one row for each piece of work
      csv              such a CSV: kind, method, input_shape, weight_shape, …, ms, low_ms, high_ms, repeats
      spdy             a timing file of SPDY (each layer's seconds at many sparsities); needs --model
      nn-meter         a table of kernels: kernel type, HW, CIN, COUT, KERNEL_SIZE, STRIDES, latency in ms

    A row that makes no sense is refused with its number, and nothing is written.

    \b
    Examples
      advisor convert r50.json --out r50.csv
      advisor convert r50.csv --out again.json
      advisor convert rn50_unstr.txt --model torchvision:resnet50 --input 64x3x224x224 --out deepsparse.json
      advisor convert conv-bn-relu.csv --machine "Cortex-A76" --out phone.json
    """
    from typing import cast

    from advisor.commands.network import open_network
    from advisor.devices.profile import load_profile
    from advisor.devices.tables.convert import Kind, read_table
    from advisor.devices.tables.own import to_csv
    from advisor.devices.tables.spdy import Pattern
    from advisor.errors import ProfileError
    from advisor.files import write_bytes

    if kind is None and _is_json(source):
        if not out.endswith(".csv"):
            raise ProfileError(f"{source} is a profile, and it is written as a table: --out {out} must end with .csv")
        profile = load_profile(source)
        write_bytes(out, to_csv(profile).encode())
        found = {"kind": "profile", "out": out, "rows": len(profile.measurements)}
        return found, f"{len(profile.measurements)} kinds of work\nwrote {out}"
    if out.endswith(".csv"):
        raise ProfileError(f"{source} is a table, and a profile is written from it: --out {out} must not end with .csv")
    network = open_network(model, input_text) if model else None
    profile = read_table(
        source,
        kind=cast("Kind | None", kind),
        network=network,
        pattern=cast("Pattern | None", pattern),
        device=device,
        threads=threads,
        machine=machine,
    )
    profile.save(out)
    document = {"out": out, **profile.summary()}
    text = [f"{len(profile.measurements)} kinds of work, {profile.settings.text if profile.settings else ''}"]
    text += [f"{whole.key}: {whole.median_ms:.3f} ms" for whole in profile.networks.values()]
    text += [f"note: {note}" for note in profile.notes]
    return document, "\n".join([*text, f"wrote {out}"])


def _is_json(source: str) -> bool:
    """Whether SOURCE is a profile: the name of one that came with the package, or a file that begins as JSON does."""
    from pathlib import Path

    from advisor.devices.profile import list_profiles

    path = Path(source)
    if not path.exists():
        return source in list_profiles() or source.endswith(".json")
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(64).lstrip().startswith(b"{")
