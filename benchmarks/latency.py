"""Predicted beside measured, whole networks that the device profile never saw: dense, and under a plan.

    advisor profile --suite --out here.json
    python benchmarks/latency.py --profile here.json
    python benchmarks/latency.py --profile here.json --networks torchvision:vgg16,timm:convnext_atto --batches 1 \\
        --plans latency=70%,latency=50%,latency=35%
    python benchmarks/latency.py --profile here.json --out rows.jsonl --budget-seconds 600 --seconds 2 --no-isolated

Each network is timed as deployed, dense and planned in turn in one run, beside what the profile says of it. "At this
pace": the profile's reference layer runs in the same rounds, and where it is slower than it was in the quiet part of
the profile's session, so is the prediction: other work on the machine is no error of the profile. Beside that the sum
of the network's leaves timed alone in warm caches, and one factor on its MACs (fitted on all rows of the run, so in
sample).

Time: a network takes --seconds on the clock, or three rounds where those take longer, beside what planning takes;
--budget-seconds ends the run before a network that would start later. --out appends each network's rows at once, and a
later run with the same file leaves out what it holds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from latencies.file import append_rows, read_rows, setting_of
from latencies.networks import HELD_OUT, asked
from latencies.rows import row_of
from latencies.summary import summary, table_of

from advisor.devices.profile import load_profile
from advisor.errors import AdvisorError


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", required=True, help="a device profile of this machine")
    parser.add_argument("--networks", default=",".join(HELD_OUT), help="separated by commas")
    parser.add_argument("--batches", default="1,8", help="separated by commas")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--plans", default="macs=40%", help="budgets, a plan for each; empty: dense alone")
    parser.add_argument("--training", action="store_true", help="training steps: forward, backward, optimiser; dense")
    parser.add_argument("--seconds", type=float, default=4.0, help="on the clock, for one network at one batch size")
    parser.add_argument("--budget-seconds", type=float, help="start no network after that; the table is of what ran")
    parser.add_argument("--no-isolated", action="store_true", help="leave the leaves timed alone out")
    parser.add_argument("--out", type=Path, help="JSON lines, one for each row; what it holds is not timed again")
    arguments = parser.parse_args(words)
    began = time.perf_counter()
    profile = load_profile(arguments.profile)
    rows = read_rows(arguments.out) if arguments.out is not None else []
    held = {(row["network"], *setting_of(row)) for row in rows}
    for name, batch in asked(arguments.networks, arguments.batches):
        if (name, batch, arguments.threads, arguments.training) in held:
            continue
        if arguments.budget_seconds is not None and time.perf_counter() - began > arguments.budget_seconds:
            print(
                f"{arguments.budget_seconds:g} s are spent; {name}, batch {batch}, and what follows is left",
                file=sys.stderr,
            )
            break
        try:
            found = row_of(name, batch, profile, arguments)
        except (AdvisorError, RuntimeError, ImportError) as error:
            print(f"{name}, batch {batch}: {error}", file=sys.stderr)
            continue
        for row in found:
            _say(row)
        rows += found
        if arguments.out is not None:
            append_rows(arguments.out, found)
    mine = [row for row in rows if setting_of(row)[1:] == (arguments.threads, arguments.training)]
    if not mine:
        return 2
    print(table_of(mine))
    print(summary(mine))
    print(f"{time.perf_counter() - began:.0f} s; {arguments.threads} thread(s)")
    return 0


def _say(row: dict[str, Any]) -> None:
    off = row["predicted_ms"] * row["pace"] / row["measured_ms"] - 1
    print(
        f"{row['network']} x{row['batch']} {row['kind']}: predicted {row['predicted_ms']:.2f} ms, "
        f"measured {row['measured_ms']:.2f} ms at a pace of {row['pace']:.2f}: {off:+.1%}",
        file=sys.stderr,
    )


if __name__ == "__main__":
    sys.exit(main())
