"""`advisor calibrate`: the profile of a GPU that is not here, from other people's measurements and its datasheet."""

from __future__ import annotations

from typing import Any

import click

from advisor.commands.options import json_option, table


@click.command()
@click.option("--measurements", metavar="CSV", help="Measured layers of the GPU, in the form below.")
@click.option("--name", required=True, help="Of the profile.")
@click.option("--datasheet", required=True, metavar="CSV", help="Datasheets, one row a GPU; columns below.")
@click.option("--device", metavar="ROW", help="The GPU's row in the datasheet; its only one otherwise.")
@click.option("--dtype", help="Which rows of CSV, or what an analytic profile computes in (float32).")
@click.option("--source", default="", help="Where the measurements come from, for the profile.")
@click.option("--out", required=True, metavar="FILE", help="The profile to write.")
@json_option
def calibrate(
    measurements: str | None,
    name: str,
    datasheet: str,
    device: str | None,
    dtype: str | None,
    source: str,
    out: str,
) -> tuple[dict[str, Any], str]:
    """Fit a GPU's profile to measured layers: tiles and rounds, Winograd, memory and launches from its datasheet, with
    coefficients, a learned residual and an interval from CSV. Shapes are held out to say how far it is off.

    Without --measurements the profile is analytic: how other GPUs' layers relate to their datasheets, with an interval
    as wide as that was wrong on GPUs left out. From 3 rows on it is scaled to them; from 60 on it may be its own.

    \b
    CSV has one row a layer (forward), with the columns
      kind,n,c_in,c_out,h,w,kernel,stride,padding,groups,dtype,ms[,order]
      kind     conv2d or linear (then h, w, kernel, stride, padding, groups may be empty)
      n        images, or rows of a linear layer
      h, w     of the input, before padding
      kernel, stride, padding: 3, or 3x5 (height x width)
      dtype    float32, tf32, float16, bfloat16, float64
      ms       median time of one call
      order    optional: grows along the session; then a time that all rows gain meanwhile is taken out

    \b
    The datasheet has the columns
      device,sm_count,boost_mhz,fp32_tflops,bandwidth_gb_s,l2_mb[,fp16_tflops,bf16_tflops,tf32_tflops,source]

    \b
    Examples
      advisor calibrate --measurements t4.csv --datasheet gpus.csv --device "NVIDIA T4" --name t4 --out t4.json
      advisor calibrate --datasheet gpus.csv --device "NVIDIA L4" --dtype float16 --name l4 --out l4.json
    """
    from advisor.devices.gpu.calibrate import calibrate as fit
    from advisor.devices.gpu.facts import ITEM_BYTES, only_device, read_datasheet
    from advisor.devices.gpu.files import write_compact
    from advisor.devices.gpu.table import read_table
    from advisor.errors import ProfileError, unknown

    if dtype is not None and dtype not in ITEM_BYTES:
        raise ProfileError(f"--dtype: {unknown('dtype', dtype, ITEM_BYTES)}")
    facts = read_datasheet(datasheet, device if device is not None else only_device(datasheet))
    rows, found = read_table(measurements, dtype) if measurements is not None else (None, dtype or "float32")
    text = source or (f"measurements in {measurements}" if measurements is not None else "")
    made = fit(name, facts, table=rows, dtype=found, source=text)
    write_compact(out, made)
    error = made["error"]
    shown = [[key.replace("_", " "), str(value)] for key, value in error.items()]
    document = {key: made[key] for key in ("name", "origin", "source", "settings", "error", "notes")} | {"out": out}
    lines = [f"{made['origin']} profile of {facts.device}, {found}", table(["held out", ""], shown)]
    lines += [f"note: {note}" for note in made["notes"]]
    return document, "\n".join([*lines, f"wrote {out}"])
