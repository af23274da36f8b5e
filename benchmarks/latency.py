"""Predicted beside measured: networks profiled within a time, planned, and timed with their plans in one run.

    python benchmarks/latency.py --seconds 60
    python benchmarks/latency.py --models torchvision:vgg16 --patterns group --budget 50% --threads 2

Run it on a quiet machine: the ratios are what to read. A line per network and plan; `inside` says whether the measured
time lies in the predicted interval.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

import advisor
from advisor.commands.network import open_network
from advisor.devices.verify import predict_latency, verify_latency
from advisor.errors import AdvisorError

MODELS = "torchvision:resnet18,torchvision:mobilenet_v2,zoo:digits_cnn"
HEADERS = [
    "network",
    "plan",
    "predicted ms",
    "low",
    "high",
    "measured ms",
    "pred/meas",
    "inside",
    "ratio predicted",
    "ratio measured",
    "low",
    "high",
]


def rows_of(model: str, arguments: argparse.Namespace) -> list[list[str]]:
    """Profiles one network, plans it per pattern, and times dense and plan; one row each."""
    network = open_network(model, None, device="cpu")
    sets: list[tuple[str, ...]] = [tuple(item.split("+")) for item in arguments.patterns.split(",")]
    every = tuple(dict.fromkeys(name for names in sets for name in names))
    out = arguments.out / f"{model.rpartition(':')[2]}.json" if arguments.out else None
    profile = advisor.measure(
        network,
        threads=arguments.threads,
        batch=arguments.batch,
        budget_seconds=arguments.seconds,
        patterns=every,
        out=out,
    )
    error = profile.error or {}
    print(
        f"{model}: {len(profile.measurements)} measured, {len(profile.unmeasured)} not; median error left out "
        f"{error.get('median_percent', '?')} %, of options {error.get('option_median_percent', '?')} %",
        file=sys.stderr,
    )
    plans: list[tuple[str, advisor.Plan | None]] = [("dense", None)]
    for names in sets:
        label = "+".join(names)
        try:
            made = advisor.plan(network, profile=profile, budgets={"latency": arguments.budget}, patterns=list(names))
        except AdvisorError as reason:
            print(f"{model}, {label}: {reason}", file=sys.stderr)
            continue
        plans.append((label, made))
    dense = predict_latency(network, profile)
    rows = []
    for label, plan in plans:
        predicted = predict_latency(network, profile, plan)
        receipt = verify_latency(network, profile, plan, seconds=arguments.verify_seconds)
        inside = predicted.low_ms <= receipt.measured_ms <= predicted.high_ms
        numbers = [predicted.latency_ms, predicted.low_ms, predicted.high_ms, receipt.measured_ms]
        ratios = [receipt.ratio, receipt.ratio_low or 1.0, receipt.ratio_high or 1.0]
        rows.append(
            [
                model,
                label,
                *(f"{x:.3f}" for x in numbers),
                f"{predicted.latency_ms / receipt.measured_ms:.3f}",
                "yes" if inside else "no",
                f"{predicted.latency_ms / dense.latency_ms:.3f}",
                *(f"{x:.3f}" for x in ratios),
            ]
        )
    return rows


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=MODELS, help="separated by commas")
    parser.add_argument("--seconds", type=float, default=60.0, help="to profile each network")
    parser.add_argument("--verify-seconds", type=float, default=10.0, help="to time each plan")
    parser.add_argument("--patterns", default="group,width,group+width", help="a plan for each, separated by commas")
    parser.add_argument("--budget", default="60%", help="latency of the plans")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None, help="a folder that keeps the profiles")
    parser.add_argument("--batch", type=int, default=None)
    arguments = parser.parse_args(words)
    rows: list[list[str]] = []
    began = time.perf_counter()
    for model in arguments.models.split(","):
        try:
            rows += rows_of(model, arguments)
        except AdvisorError as error:
            print(f"{model}: {error}", file=sys.stderr)
    print(tabulate(rows, headers=HEADERS, disable_numparse=True, colalign=("left", "left", *["right"] * 10)))
    print(f"{time.perf_counter() - began:.0f} s; {arguments.threads} thread(s), latency budget {arguments.budget}")
    return 0 if rows else 2


if __name__ == "__main__":
    sys.exit(main())
