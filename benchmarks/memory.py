"""Peak memory, predicted beside measured: networks dense and planned, inference and training.

    python benchmarks/memory.py
    python benchmarks/memory.py --models torchvision:resnet50 --batches 1,8 --runs inference --out rows.jsonl

A line per network, batch and run, as they come. Measured is the growth of the resident set of a fresh process (CPU), or
what CUDA's allocator handed out; `error` is predicted / measured - 1. Beside it what plain counting says: `weights +
peak` adds the exported graph's peak of activations to the weights (and to gradients and optimiser state when training),
`+ all` the sum of all activations. With --out, lines are kept and those that are there already are not measured again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any

import torch
from tabulate import tabulate

import advisor
from advisor.commands.network import open_network
from advisor.counting.liveness import storages
from advisor.devices.measuring.subject import with_batch
from advisor.devices.memory import memory_document
from advisor.errors import AdvisorError

MODELS = (
    "torchvision:resnet18,torchvision:resnet50,torchvision:mobilenet_v2,torchvision:mobilenet_v3_large,"
    "torchvision:vgg11,torchvision:alexnet,torchvision:squeezenet1_1,torchvision:densenet121,torchvision:googlenet,"
    "torchvision:shufflenet_v2_x1_0,torchvision:mnasnet1_0,torchvision:regnet_y_400mf,torchvision:efficientnet_b0,"
    "torchvision:convnext_tiny,torchvision:resnext50_32x4d,torchvision:swin_t,timm:mixer_s32_224,timm:ghostnet_100,"
    "timm:deit_tiny_patch16_224,timm:poolformer_s12,timm:repvgg_a0,timm:mobilevit_xxs,timm:res2net50_26w_4s,"
    "timm:levit_128s,timm:efficientvit_b0"
)
HEADERS = [
    "network", "batch", "run", "predicted MB", "low", "high", "measured MB", "error",
    "weights + peak", "error", "+ all", "error",
]  # fmt: skip
STATE = {"sgd": 0, "sgd_momentum": 1, "adam": 2}


def alternatives(network: Any, training: bool, optimizer: str) -> tuple[int, int]:
    """Bytes by counting: weights and the exported peak, and weights and all activations together."""
    weights = network.weight_bytes
    if training:
        weights += (1 + STATE[optimizer]) * 4 * network.params
    return weights + network.peak_activation_bytes, weights + sum(s.bytes for s in storages(network.ops))


@lru_cache(maxsize=1)
def network_of(model: str, batch: int) -> Any:
    """Analysed once for all its runs."""
    return with_batch(open_network(model, None), batch)


def planned_for(network: Any, budget: str) -> Any:
    """Groups that fit into the budget; the ends thin out, too, where it cannot be met without."""
    options: dict[str, Any] = {"budgets": {"macs": budget}, "patterns": ["group"], "time_limit": 20}
    try:
        return advisor.plan(network, **options)
    except AdvisorError:
        return advisor.plan(network, **options, include_ends=True)


def row_of(model: str, batch: int, run: str, planned: bool, arguments: argparse.Namespace) -> dict[str, Any]:
    """Predicts and measures one case."""
    training = run == "training"
    network = network_of(model, batch)
    plan = None
    if planned:
        plan = planned_for(network, arguments.budget)
    document, _ = memory_document(
        network,
        plan,
        training=training,
        optimizer=arguments.optimizer,
        verify=True,
        threads=arguments.threads,
        device=arguments.device,
    )
    peak, everything = alternatives(network, training, arguments.optimizer)
    return {
        "network": model,
        "batch": batch,
        "run": run + (", planned" if planned else ""),
        "predicted": document["peak_bytes"],
        "low": document["low_bytes"],
        "high": document["high_bytes"],
        "measured": document["measured_peak_bytes"],
        "plain": peak,
        "everything": everything,
        "document": document,
    }


def line_of(row: dict[str, Any]) -> list[str]:
    measured = row["measured"]
    cells = [row["network"], str(row["batch"]), row["run"]]
    cells += [f"{row[key] / 1e6:.1f}" for key in ("predicted", "low", "high", "measured")]
    cells.append(f"{row['predicted'] / measured - 1:+.1%}")
    for key in ("plain", "everything"):
        cells += [f"{row[key] / 1e6:.1f}", f"{row[key] / measured - 1:+.1%}"]
    return cells


def cases(arguments: argparse.Namespace) -> Iterator[tuple[str, int, str, bool]]:
    for model in arguments.models.split(","):
        for batch in (int(text) for text in arguments.batches.split(",")):
            for run in arguments.runs.split(","):
                for kind in arguments.kinds.split(","):
                    yield model, batch, run, kind == "planned"


def summary(rows: list[dict[str, Any]]) -> str:
    lines = []
    for key, name in (("predicted", "predicted"), ("plain", "weights + peak"), ("everything", "weights + all")):
        errors = [abs(row[key] / row["measured"] - 1) for row in rows]
        inside = sum(error <= 0.1 for error in errors)
        lines.append(
            f"{name}: {inside} of {len(errors)} within 10 %, median error {median(errors):.1%}, worst {max(errors):.1%}"
        )
    return "\n".join(lines)


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--batches", default="1,8")
    parser.add_argument("--runs", default="inference,training")
    parser.add_argument("--kinds", default="dense,planned")
    parser.add_argument("--budget", default="25%", help="of the dense network's MACs, for the planned ones")
    parser.add_argument("--optimizer", default="sgd_momentum", choices=sorted(STATE))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="a file of JSON lines; what it holds is not measured again")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table and a summary."""
    arguments = parsed(argv)
    torch.set_num_threads(arguments.threads)
    rows: list[dict[str, Any]] = []
    if arguments.out and arguments.out.is_file():
        rows = [json.loads(line) for line in arguments.out.read_text(encoding="utf-8").splitlines()]
    known = {(row["network"], row["batch"], row["run"]) for row in rows}
    for model, batch, run, planned in cases(arguments):
        if (model, batch, run + (", planned" if planned else "")) in known:
            continue
        try:
            row = row_of(model, batch, run, planned, arguments)
        except AdvisorError as reason:
            print(f"{model}, batch {batch}, {run}: {reason}", file=sys.stderr)
            continue
        print("  ".join(line_of(row)), file=sys.stderr, flush=True)
        rows.append(row)
        if arguments.out:
            with arguments.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    print(tabulate([line_of(row) for row in rows], headers=HEADERS, disable_numparse=True))
    if rows:
        print(summary(rows))


if __name__ == "__main__":
    main()
