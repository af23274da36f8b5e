"""Plans that were refined beside plans that were not: what the real network takes under each, against its budget.

    python benchmarks/refine.py --profile amd-epyc-device
    python benchmarks/refine.py torchvision:resnet18 --budgets 50 --profile here.json --seconds 5
    python benchmarks/refine.py --profile "{}.json" --out refine.jsonl

Each network is planned at each share of its dense latency: once as `advisor plan` does it, and once with up to --rounds
rounds (`advisor plan --refine`). Then dense, plain and refined are timed in turn in one run, which had no part in the
choice: the columns "measured" are the medians of plan / dense in that run with their 95 % intervals. "In rounds" is
what the last measurement before that had said. A budget is met where the refined plan is not above it and at most 3 %
below it. The loss is the estimate that plans minimise; a plan over its budget loses less.

--profile is a device profile for all networks, or the files of networks' own profiles with {} for the name
("resnet50.json" for torchvision:resnet50). --out appends each row at once; a later run with the same file leaves out
what it holds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

import advisor
from advisor.commands.network import open_network
from advisor.devices.measuring.in_turn import time_in_turn
from advisor.devices.measuring.timing import ratio
from advisor.errors import AdvisorError
from advisor.refining.told import round_text
from advisor.refining.trials import BAND

NETWORKS = ("torchvision:resnet50", "torchvision:vgg16", "torchvision:inception_v3")
HEADERS = (
    "network",
    "budget",
    "plain: predicted",
    "measured",
    "loss",
    "refined: in rounds",
    "measured",
    "loss",
    "off budget",
    "met",
    "rounds",
    "s",
)


def row_of(name: str, percent: float, arguments: argparse.Namespace) -> dict[str, Any]:
    """One network at one budget.

    Raises:
        AdvisorError: it cannot be planned or run.
    """
    network = open_network(name, None, device="cpu")
    asked: dict[str, Any] = {
        "profile": advisor.load_profile(arguments.profile.replace("{}", name.partition(":")[2] or name)),
        "budgets": {"latency": f"{percent:g}%"},
        "patterns": arguments.patterns.split(","),
    }
    plain = advisor.plan(network, **asked)
    began = time.perf_counter()
    refined = advisor.refine(
        network,
        rounds=arguments.rounds,
        seconds=arguments.seconds,
        report=lambda line: print(f"  {line}", file=sys.stderr),
        **asked,
    )
    spent = time.perf_counter() - began
    taken = time_in_turn(
        network,
        {"dense": None, "plain": plain, "refined": refined},
        profile=asked["profile"],
        seconds=1.5 * arguments.seconds,
    ).samples
    shares = {label: ratio(taken[label], taken["dense"]) for label in ("plain", "refined")}
    return {
        "network": name,
        "percent": percent,
        "dense_ms": taken["dense"].median_ms,
        "plain_predicted": plain.costs["latency"].plan / plain.costs["latency"].dense,
        "refined_in_rounds": refined.costs["latency"].plan / refined.costs["latency"].dense,
        "plain_loss": plain.objective,
        "refined_loss": refined.objective,
        "rounds": max(item.number for item in refined.rounds),
        "told": [round_text(item) for item in refined.rounds],
        "seconds": spent,
        **{f"{label}_measured": found.median_ms for label, found in shares.items()},
        **{f"{label}_low": found.low_ms for label, found in shares.items()},
        **{f"{label}_high": found.high_ms for label, found in shares.items()},
    }


def table_of(rows: Sequence[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        off = row["refined_measured"] / (row["percent"] / 100) - 1
        lines.append(
            [
                row["network"],
                f"{row['percent']:g} %",
                f"{row['plain_predicted']:.1%}",
                _share(row, "plain"),
                f"{row['plain_loss']:.4g}",
                f"{row['refined_in_rounds']:.1%}",
                _share(row, "refined"),
                f"{row['refined_loss']:.4g}",
                f"{off:+.1%}",
                "yes" if -BAND <= off <= 0 else "no",
                row["rounds"],
                f"{row['seconds']:.0f}",
            ]
        )
    return tabulate(lines, headers=HEADERS, disable_numparse=True, colalign=("left", *["right"] * 11))


def _share(row: dict[str, Any], label: str) -> str:
    return f"{row[f'{label}_measured']:.1%} ({row[f'{label}_low']:.1%} to {row[f'{label}_high']:.1%})"


def read(path: Path | None) -> list[dict[str, Any]]:
    """The rows of an earlier run; a line that was cut off is left out."""
    rows = []
    for line in path.read_text().splitlines() if path is not None and path.exists() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            print(f"{path}: a line that is no row is left out", file=sys.stderr)
    return rows


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=NETWORKS, help="as advisor takes them; three by default")
    parser.add_argument("--profile", required=True, help="a device profile, or files with {} for the network's name")
    parser.add_argument("--budgets", default="70,50,30", help="percent of the dense latency, separated by commas")
    parser.add_argument("--patterns", default="channel,group,width", help="separated by commas")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20.0, help="at most, of each timing")
    parser.add_argument("--out", type=Path, help="JSON lines, one for each row; what it holds is not done again")
    arguments = parser.parse_args(words)
    rows = read(arguments.out)
    held = {(row["network"], row["percent"]) for row in rows}
    for name in arguments.networks:
        for percent in (float(text) for text in arguments.budgets.split(",")):
            if (name, percent) in held:
                continue
            print(f"{name} at {percent:g} %", file=sys.stderr)
            try:
                row = row_of(name, percent, arguments)
            except AdvisorError as error:
                print(f"{name} at {percent:g} %: {error}", file=sys.stderr)
                continue
            rows.append(row)
            if arguments.out is not None:
                with arguments.out.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    if not rows:
        return 2
    print(table_of(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
