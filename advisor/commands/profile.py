"""`advisor profile`: the table of latencies of your own device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from advisor.commands.options import (
    ends_option,
    input_option,
    json_option,
    patterns_option,
    split_names,
    table,
    threads_option,
)

if TYPE_CHECKING:
    from advisor.devices.profile import Profile
    from advisor.devices.spread.request import ProfileRequest


@click.command()
@click.argument("model", metavar="[MODEL]", required=False)
@click.option("--suite", is_flag=True, help="A device profile instead: any network's latency can be told from it.")
@click.option("--device", default="cpu", show_default=True, metavar="cpu|cuda[:i]")
@threads_option
@click.option("--batch", type=click.IntRange(min=1), help="Batch size; the example input's otherwise.")
@click.option("--training", is_flag=True, help="Time forward and backward instead of inference.")
@click.option("--dtype", metavar="float32|tf32|float16|bfloat16", help="On a GPU: the number format to measure in.")
@click.option("--channels-last", is_flag=True, help="On a GPU: images with their channels together.")
@click.option("--flush-l2", is_flag=True, help="On a GPU: empty its L2 before each run.")
@click.option("--cuda-graphs", is_flag=True, help="On a GPU: tell the cost of launching kernels apart.")
@click.option(
    "--budget-seconds",
    type=click.FloatRange(min=0, min_open=True),
    help="How long it may take in all.",
)
@click.option("--out", required=True, metavar="FILE", help="The profile to write; an interrupted run goes on from it.")
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="ray: every device of a cluster, each on its own; FILE is then a folder for a profile of each.",
)
@click.option("--address", metavar="HOST:PORT", help="With --engine ray: the cluster to join, or auto.")
@patterns_option
@ends_option
@input_option
@json_option
def profile(
    model: str | None,
    suite: bool,
    device: str,
    threads: int | None,
    batch: int | None,
    training: bool,
    dtype: str | None,
    channels_last: bool,
    flush_l2: bool,
    cuda_graphs: bool,
    budget_seconds: float | None,
    out: str,
    engine: str,
    address: str | None,
    patterns: str | None,
    include_ends: bool,
    input_text: str | None,
) -> tuple[dict[str, Any], str]:
    """Measure every layer of MODEL under every candidate pattern, on this machine, and write a profile.

    Without --budget-seconds every piece of work is timed until its median is known well; with it, what does not fit
    is predicted, and listed. An interrupted or killed run goes on where it stopped when the same command is started
    again. A profile that FILE already holds is replaced at the end.

    --suite measures no network but pieces of many kinds, in under 20 minutes (or --budget-seconds), with one thread and
    with all (or with --threads), at inference and in training. Its profile tells the latency of any network here.

    \b
    Examples
      advisor profile --suite --out here.json
      advisor profile --suite --device cuda --dtype float16 --channels-last --out gpu16.json
      advisor profile torchvision:resnet50 --device cpu --budget-seconds 300 --out r50.json
      advisor profile my_net.py:build --device cuda --batch 8 --training --out gpu.json
      advisor profile --suite --engine ray --address auto --out profiles/
    """
    import time
    from dataclasses import asdict

    started = time.perf_counter()  # loading torch and the network counts, too
    from advisor.devices.cuda.run import gpu_options
    from advisor.devices.settings import check_device
    from advisor.devices.spread.request import ProfileRequest, make_profile
    from advisor.errors import ClusterError, ProfileError

    gpu = gpu_options(device, dtype=dtype, channels_last=channels_last, flush_l2=flush_l2, cuda_graphs=cuda_graphs)
    if suite:
        _refuse_with_suite(model, batch, training, patterns, include_ends, input_text)
        if gpu is not None and threads is not None:
            raise ProfileError(
                f"--suite with --threads={threads}: threads are the CPU's; leave it out with --device {device}"
            )
    elif model is None:
        raise ProfileError("profile needs a MODEL, or --suite for a device profile")
    request = ProfileRequest(
        model=model,
        device=device,
        threads=threads,
        batch=batch,
        training=training,
        budget_seconds=budget_seconds,
        patterns=split_names(patterns),
        include_ends=include_ends,
        input_text=input_text,
        gpu=gpu,
    )
    if engine == "ray":
        return _on_cluster(request, address, out)
    if address is not None:
        raise ClusterError(f"--address={address} belongs to --engine ray; leave it out, or add --engine ray")
    check_device(device)
    made = make_profile(request, out, started=started)
    if suite:
        return _gpu_suite(made, out) if gpu is not None else _suite(made, out)
    document = {"out": out, **made.summary(), "unmeasured": list(made.unmeasured)}
    document["whole"] = [asdict(known) | {"rest_ms": known.rest_ms} for known in made.networks.values()]
    whole = next(iter(made.networks.values()))
    rows = [
        ["whole network, inference-ready" if not training else "whole training step", f"{whole.median_ms:.3f}"],
        ["the same as given (eager)", f"{whole.eager_ms:.3f}"],
        ["its layers, in place" if whole.in_place else "its layers, one by one", f"{whole.layers_ms:.3f}"],
    ]
    if whole.interpreter_ms is not None:
        rows += [[f"other operators: {family}", f"{ms:.3f}"] for family, ms in _largest_first(whole.parts)]
        rows.append(["the interpreter, and memory given back", f"{whole.interpreter_ms:.3f}"])
    else:
        rows.append(["the rest (operators between them)", f"{whole.rest_ms:.3f}"])
    if whole.graph_ms is not None and whole.launch_ms is not None:
        rows.append(["from a CUDA graph", f"{whole.graph_ms:.3f}"])
        rows.append([f"launching its {whole.launches or 'unknown number of'} kernels", f"{whole.launch_ms:.3f}"])
    text = [table(["", "ms"], rows, right=(1,)), f"{len(made.measurements)} kinds of work measured"]
    if made.unmeasured:
        text.append(f"{len(made.unmeasured)} not measured within the time: predicted with an interval, and marked so")
        text += [f"  {key}" for key in made.unmeasured[:5]]
        text += [f"  … and {len(made.unmeasured) - 5} more, listed in {out}"] if len(made.unmeasured) > 5 else []
    text += [f"note: {note}" for note in made.notes]
    text.append(f"wrote {out}")
    return document, "\n".join(text)


def _largest_first(parts: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(parts.items(), key=lambda item: -item[1])


def _refuse_with_suite(*given: object) -> None:
    """The suite draws its own networks and batch sizes."""
    from advisor.errors import ProfileError

    names = ("MODEL", "--batch", "--training", "--patterns", "--include-ends", "--input")
    for name, value in zip(names, given, strict=True):
        if value:
            raise ProfileError(
                f"--suite with {name}={value}: the suite runs its own networks, batch sizes and training steps; leave "
                f"{name} out"
            )


def _on_cluster(request: ProfileRequest, address: str | None, out: str) -> tuple[dict[str, Any], str]:
    from pathlib import Path

    from advisor.cluster import cluster
    from advisor.devices.spread.cluster import spread
    from advisor.errors import DeviceError, ProfileError

    if request.device not in ("cpu", "cuda"):
        raise DeviceError(f"device {request.device!r} with --engine ray; expected cpu or cuda, for all that there are")
    if Path(out).exists() and not Path(out).is_dir():
        raise ProfileError(f"--out {out} is a file; with --engine ray name a folder for a profile of each device")
    with cluster(address) as ray:
        done = spread(ray, request, Path(out), say=lambda text: click.echo(text, err=True))
    rows = [[one.device, one.host, str(one.path) if one.path else f"failed: {one.problem}"] for one in done]
    found = [
        {"device": one.device, "host": one.host, "out": one.path and str(one.path), "problem": one.problem}
        for one in done
    ]
    return {"profiles": found}, table(["device", "machine", "profile"], rows)


def _gpu_suite(made: dict[str, Any], out: str) -> tuple[dict[str, Any], str]:
    rows = [[key.replace("_", " "), str(value)] for key, value in made["error"].items()]
    text = [f"profile of {made['machine']['name']}, {made['model']['dtype']}", table(["held out", ""], rows)]
    text += [f"note: {note}" for note in made["notes"]]
    document = {key: made[key] for key in ("name", "origin", "source", "settings", "error", "notes")} | {"out": out}
    return document, "\n".join([*text, f"wrote {out}"])


def _suite(made: Profile, out: str) -> tuple[dict[str, Any], str]:
    tables = [{"threads": x.threads, "training": x.training, **x.error} for x in made.tables]
    head = ["", "pieces", "operators", "off by (median)", "within 10 %"]
    keys = ("pieces", "steps", "whole_median_percent", "whole_within_10_percent")
    rows = [[table_.text, *(str(table_.error[key]) for key in keys)] for table_ in made.tables]
    text = [table(head, rows, right=(1, 2, 3, 4)), "whole pieces left out of the fit: predicted against measured, in %"]
    text += [f"note: {note}" for note in made.notes]
    text.append(f"wrote {out}")
    return {"out": out, **made.summary(), "tables": tables}, "\n".join(text)
