"""Whole networks on a GPU: measured, and predicted by a device profile that never saw them.

    advisor profile --suite --device cuda --dtype float16 --channels-last --out gpu16.json       (on the GPU)
    python benchmarks/gpu_networks.py --measure times.csv --forms fp32,tf32,fp16-last            (on the GPU)
    python benchmarks/gpu_networks.py --times times.csv --form fp16-last --profile gpu16.json    (anywhere)

Networks are as deployed (batch norm folded). Each is launched one operator after the other, from an idle device, and
replayed from a CUDA graph; medians of CUDA events. Beside the profile stands a fit of MACs alone in this same table, in
sample. A CSV file that exists is added to: what it holds is not measured again.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import pickle
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from tabulate import tabulate
from torch import nn

from advisor.devices.cuda.forms import checked_number, converted, number_format
from advisor.devices.cuda.graphs import capture
from advisor.devices.measuring.clocks import clock_for
from advisor.devices.measuring.subject import forward_call
from advisor.errors import AdvisorError

TORCHVISION = (
    "alexnet vgg11 vgg16 resnet18 resnet34 resnet50 resnet101 resnext50_32x4d wide_resnet50_2 squeezenet1_1 "
    "densenet121 mobilenet_v2 mobilenet_v3_large mobilenet_v3_small shufflenet_v2_x1_0 mnasnet1_0 efficientnet_b0 "
    "efficientnet_b3 efficientnet_v2_s regnet_y_800mf regnet_x_3_2gf convnext_tiny vit_b_16 googlenet inception_v3"
)
TIMM = "deit_small_patch16_224 mixer_b16_224 convmixer_768_32 resmlp_12_224 levit_128 mobilevit_s ghostnet_100 dpn68"
NETWORKS = (*(f"torchvision:{n}" for n in TORCHVISION.split()), *(f"timm:{n}" for n in TIMM.split()))
COLUMNS = ("network", "batch", "form", "eager_ms", "graph_ms", "gpu", "torch")


def deployed(name: str) -> bytes:
    """The network with batch norm folded, its weights without memory, pickled."""
    from advisor.commands.network import open_network
    from advisor.devices.measuring.subject import weighted_module
    from advisor.runtime.fold import fold

    torch.set_num_threads(1)
    network = open_network(name, None, device="meta")
    tables = any(b.is_meta and not b.is_floating_point() for b in network.module.buffers())  # type: ignore[union-attr]
    module = fold(weighted_module(network) if tables else network.module, network).eval()
    return pickle.dumps((module, tuple(network.input_shapes[0])))


def on(module: nn.Module, device: str) -> nn.Module:
    """With memory, and numbers that stay of usual size."""
    if not any(p.is_meta for p in module.parameters()):
        return module.to(device)
    made = module.to_empty(device=device)
    with torch.no_grad():
        for name, tensor in (*made.named_parameters(), *made.named_buffers()):
            if not tensor.is_floating_point():
                continue
            if tensor.ndim < 2 and name.endswith("weight"):
                tensor.fill_(1.0)  # of a norm
            else:
                tensor.normal_(0, (2 / max(tensor[0].numel(), 1)) ** 0.5 if tensor.ndim > 1 else 0.1)
    return made


def timed(module: nn.Module, image: torch.Tensor, form: str, seconds: float = 0.2) -> tuple[float, float]:
    """ms launched and from a graph; nan where no graph takes it."""
    number, _, axes = form.partition("-")
    clock = clock_for("cuda")
    with number_format(checked_number(number)):
        call = forward_call(*converted(module, (image,), checked_number(number), channels_last=axes == "last"))

        def taken(work: Any) -> float:
            for _ in range(3):
                work()
            began, found = time.perf_counter(), [clock(work) for _ in range(5)]
            while time.perf_counter() - began < seconds and len(found) < 40:
                found.append(clock(work))
            return median(found)

        eager = taken(call)
        try:
            return eager, taken(capture(call))
        except AdvisorError:
            return eager, float("nan")


def measure(arguments: argparse.Namespace) -> int:
    """Appends to the table until it is complete or the time is spent."""
    path = Path(arguments.measure)
    held = {(r["network"], r["batch"], r["form"]) for r in rows_of(path)} if path.exists() else set()
    wanted = [(str(b), f) for b in arguments.batches.split(",") for f in arguments.forms.split(",")]
    left = [n for n in names_of(arguments) if any((n, b, f) not in held for b, f in wanted)]
    began, gpu = time.perf_counter(), torch.cuda.get_device_name()
    with (
        path.open("a", newline="", encoding="utf-8") as file,
        ProcessPoolExecutor(arguments.jobs, multiprocessing.get_context("spawn")) as pool,
    ):
        writer = csv.DictWriter(file, COLUMNS)
        if not held and path.stat().st_size == 0:
            writer.writeheader()
        for name, made in zip(left, pool.map(deployed, left), strict=True):
            if time.perf_counter() - began > 60 * arguments.minutes:
                print(f"time is up before {name}", file=sys.stderr)
                pool.shutdown(wait=False, cancel_futures=True)
                break
            module, shape = pickle.loads(made)
            module = on(module, "cuda")
            for batch, form in wanted:
                if (name, batch, form) in held:
                    continue
                eager, graph = timed(module, torch.randn(int(batch), *shape[1:], device="cuda"), form)
                writer.writerow(
                    dict(zip(COLUMNS, (name, batch, form, eager, graph, gpu, torch.__version__), strict=True))
                )
                file.flush()
            del module
            torch.cuda.empty_cache()
            print(f"{name} measured", file=sys.stderr)
    return 0


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def names_of(arguments: argparse.Namespace) -> list[str]:
    return arguments.networks.split(",") if arguments.networks else list(NETWORKS)


def predicted(rows: Sequence[dict[str, str]], profile_name: str) -> Iterator[tuple[dict[str, str], Any, int]]:
    """Each measured row with its prediction and the network's MACs."""
    from advisor.commands.network import open_network
    from advisor.devices.measuring.subject import with_batch
    from advisor.devices.predicting.whole import predict_run
    from advisor.devices.profile import load_profile

    profile = load_profile(profile_name)
    for row in rows:
        network = with_batch(open_network(row["network"], None, device="meta"), int(row["batch"]))
        print(f"{row['network']} batch {row['batch']}", file=sys.stderr)
        yield row, predict_run(network, profile), network.macs


def compare(arguments: argparse.Namespace) -> int:
    """The table of a form."""
    wanted = names_of(arguments)
    rows = [r for r in rows_of(Path(arguments.times)) if r["form"] == arguments.form and r["network"] in wanted]
    if not rows:
        print(f"{arguments.times}: no rows of form {arguments.form}", file=sys.stderr)
        return 2
    found, lines, macs = [], [], []
    for row, run, count in predicted(rows, arguments.profile):
        eager, graph = float(row["eager_ms"]), float(row["graph_ms"])
        gpu = run.median_ms - run.parts.get("launch", 0.0)
        found.append((int(row["batch"]), eager, run.median_ms, run.low_ms <= eager <= run.high_ms, graph, gpu))
        macs.append(count)
        off = 100 * (run.median_ms / eager - 1)
        interval = f"{run.low_ms:.2f} to {run.high_ms:.2f}"
        lines.append([row["network"], row["batch"], eager, run.median_ms, interval, off, graph, gpu, run.origin])
    heads = [
        "network",
        "batch",
        "measured",
        "predicted",
        "80 % interval",
        "off %",
        "from a graph",
        "predicted",
        "origin",
    ]
    print(tabulate(lines, heads, floatfmt=("", "", ".3f", ".3f", "", "+.1f", ".3f", ".3f", "")))
    print(
        tabulate(
            summary(found, np.array(macs, dtype=float)),
            ["", "networks", "median %", "within 10 %", "within 20 %", "inside interval"],
        )
    )
    print(f"{rows[0]['gpu']}, torch {rows[0]['torch']}, {arguments.form}, profile {arguments.profile}")
    return 0


def summary(found: Sequence[tuple[Any, ...]], macs: np.ndarray) -> list[list[Any]]:
    batch, eager, whole, inside, graph, gpu = (np.array(column) for column in zip(*found, strict=True))
    known = np.isfinite(graph)
    rows = []
    for size in sorted(set(batch.tolist())):
        mine = batch == size
        rows.append(
            [f"launched, batch {size}", *_figures(whole[mine], eager[mine]), f"{100 * inside[mine].mean():.0f} %"]
        )
        rows.append([f"from a graph, batch {size}", *_figures(gpu[mine & known], graph[mine & known]), ""])
        rows.append(
            [f"  MACs x the middle factor, batch {size}", *_figures(_scaled(macs[mine], eager[mine]), eager[mine]), ""]
        )
    return rows


def _scaled(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    return np.asarray(values * np.median(times / values))


def _figures(predictions: np.ndarray, times: np.ndarray) -> list[Any]:
    off = 100 * np.abs(predictions / times - 1)
    return [len(off), f"{np.median(off):.1f}", f"{100 * (off <= 10).mean():.0f} %", f"{100 * (off <= 20).mean():.0f} %"]


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", metavar="CSV", help="time networks on this GPU into CSV")
    parser.add_argument("--times", metavar="CSV", help="compare with these times")
    parser.add_argument("--profile", help="a device profile of that GPU")
    parser.add_argument("--form", default="fp16-last", help="which rows to compare")
    parser.add_argument("--forms", default="fp32,tf32,fp16-last", help="to measure; -last: channels last")
    parser.add_argument("--batches", default="1,32")
    parser.add_argument("--networks", help="instead of the usual ones, comma-separated")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--jobs", type=int, default=4, help="processes that trace networks meanwhile")
    arguments = parser.parse_args(words)
    if arguments.measure:
        if not torch.cuda.is_available():
            print("no GPU here", file=sys.stderr)
            return 2
        return measure(arguments)
    if not (arguments.times and arguments.profile):
        parser.error("give --measure CSV, or --times CSV and --profile P")
    return compare(arguments)


if __name__ == "__main__":
    sys.exit(main())
