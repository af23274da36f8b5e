"""What a noisy neighbour does to a profile: measured in quiet, then with a process that burns a core from half-way on.

    python benchmarks/noise.py
    python benchmarks/noise.py --model torchvision:resnet18 --seconds 60 --same-core

Printed are how much the medians of the disturbed profile differ from those of the quiet one, and what the disturbed
profile says about it. *rested* is a second quiet profile: what two profiles differ by on this machine anyway. With
--same-core both processes share one core (the neighbour takes time that can be taken out again); without it the
neighbour has a core of its own where there are several, and takes memory bandwidth, caches or half of a core.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from statistics import median

import numpy as np
from tabulate import tabulate

import advisor
from advisor.commands.network import open_network
from advisor.devices.profile import Profile
from advisor.network import Network

HEADERS = ["profile", "compared", "median change %", "p90 %", "within 5 %", "whole %", "says"]


def profiled(network: Network, arguments: argparse.Namespace, *, disturbed: bool) -> Profile:
    """One profile; the neighbour comes once half of the work is done."""
    neighbour: list[subprocess.Popen[bytes]] = []

    def watch(done: int, total: int, left: float | None, text: str) -> None:
        if disturbed and not neighbour and done >= total // 2:
            neighbour.append(subprocess.Popen([sys.executable, "-c", "while True: pass"]))

    try:
        return advisor.measure(
            network,
            threads=1,
            budget_seconds=arguments.seconds,
            patterns=arguments.patterns.split(","),
            progress=False,
            callback=watch,
        )
    finally:
        for process in neighbour:
            process.kill()
            process.wait()


def row(name: str, made: Profile, quiet: Profile) -> list[str]:
    shared = sorted(set(made.measurements) & set(quiet.measurements))
    change = [100 * (made.measurements[key].median_ms / quiet.measurements[key].median_ms - 1) for key in shared]
    size = np.abs(change)
    (one,), (other,) = made.networks.values(), quiet.networks.values()
    said = [note for note in made.notes if note.startswith(("noise", "other processes"))]
    numbers = [median(change), float(np.quantile(size, 0.9)), 100 * float((size < 5).mean())]
    whole = 100 * (one.median_ms / other.median_ms - 1)
    return [name, str(len(shared)), *(f"{x:.1f}" for x in (*numbers, whole)), "; ".join(said) or "nothing"]


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="zoo:digits_cnn")
    parser.add_argument("--patterns", default="group", help="separated by commas")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each profile")
    parser.add_argument("--same-core", action="store_true", help="the neighbour gets this process's core and no other")
    arguments = parser.parse_args(words)
    if arguments.same_core:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    network = open_network(arguments.model, None, device="cpu")
    quiet, rested, disturbed = (profiled(network, arguments, disturbed=noisy) for noisy in (False, False, True))
    rows = [row("rested", rested, quiet), row("disturbed", disturbed, quiet)]
    print(tabulate(rows, headers=HEADERS, disable_numparse=True, maxcolwidths=[None] * 6 + [60]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
