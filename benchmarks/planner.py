"""How fast and how good the exact planner is, beside SPDY's dynamic program and greedy rules, in one run.

    python benchmarks/planner.py [--data FOLDER] [--parts spdy,growth,fronts] [--seeds 2]

`--data` is a folder of timing tables as SPDY (Frantar and Alistarh 2022) stores them: real CPU timings of each layer at
42 densities. Their losses are priors, named in the table: `log` is -ln(density) of every layer, `quadratic` SPDY's.
Synthetic tables have three budgets (latency, parameters, MACs) at half of dense each, and -ln(density) by a lognormal
weight per layer as loss. CPU seconds stand beside seconds, since others may share the machine. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tabulate import tabulate

import advisor
from advisor.errors import AdvisorError
from advisor.planning.solving.fronts import trace_front
from advisor.planning.solving.solve import solve
from advisor.planning.table import Choice, CostTable

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.planning.rivals import dynamic_program, greedy  # noqa: E402
from benchmarks.planning.synthetic import synthetic  # noqa: E402

SHARES = (0.8, 0.65, 0.5)
PRIORS = ("log", "quadratic")
SIZES = ((26, 42), (52, 42), (105, 42), (210, 42), (420, 42), (1000, 100), (10_000, 50))
LARGEST_FOR_GREEDY = 105


def timed(work: Callable[[], Any]) -> tuple[Any, str]:
    """What `work` returns, and "seconds / CPU seconds"."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = work()
    return found, f"{time.perf_counter() - wall:.2f} / {time.process_time() - cpu:.2f}"


def spdy_rows(folder: Path, gap: float) -> list[list[str]]:
    """One row per table, prior and share of the dense time."""
    rows = []
    for path in sorted(folder.glob("*.txt")):
        for prior in PRIORS:
            table = CostTable.from_spdy(path, prior=prior)
            for share in SHARES:
                limit = share * table.total("latency", table.dense)
                head = [path.stem, f"{len(table.layers)} × {max(map(len, table.options))}", prior, f"{share:.0%}"]
                rows.append([*head, *_beside(table, limit, gap)])
    return rows


def _beside(table: CostTable, limit: float, gap: float) -> list[str]:
    limits = {"latency": limit}
    try:
        ours, seconds = timed(lambda: solve(table, limits, gap=gap))
    except AdvisorError as error:
        return [str(error)[:70]]
    cells = [f"{ours.objective:.5f}", f"{100 * ours.gap:.4f} %", seconds]
    rivals: dict[str, Callable[[], Choice | None]] = {
        "dynamic program": lambda: dynamic_program(table, "latency", limit),
        "greedy": lambda: greedy(table, limits, by_step=False),
        "step by step": lambda: greedy(table, limits, by_step=True),
    }
    for rival in rivals.values():
        found, seconds = timed(rival)
        cells += [*_judged(table, found, limits, ours.objective), seconds]
    return cells


def _judged(table: CostTable, choice: Choice | None, limits: Mapping[str, float], best: float) -> list[str]:
    """How much more a choice loses than ours, and by how much it is over its budget."""
    if choice is None:
        return ["finds none", ""]
    over = max(table.total(key, choice) / limit - 1 for key, limit in limits.items())
    return [f"{100 * (table.objective(choice) / best - 1):+.3f} %", f"{100 * over:+.4f} %" if over > 0 else "0"]


def growth_rows(seeds: int, gap: float) -> list[list[str]]:
    """Solve time over the size of the table, three budgets at once."""
    rows = []
    for layers, options in SIZES:
        for seed in range(seeds if layers <= LARGEST_FOR_GREEDY else 1):
            table = synthetic(seed, layers, options)
            limits = {key: 0.5 * table.total(key, table.dense) for key in table.keys}
            found, seconds = timed(lambda t=table, m=limits: solve(t, m, gap=gap, time_limit=300.0))  # type: ignore[misc]
            cells = [f"{100 * found.gap:.5f} %", found.status, seconds]
            if layers <= LARGEST_FOR_GREEDY:
                rival, took = timed(lambda t=table, m=limits: greedy(t, m, by_step=False))  # type: ignore[misc]
                cells += [_judged(table, rival, limits, found.objective)[0], took]
            rows.append([f"{layers} × {options} × {len(limits)}", str(seed), *cells])
    return rows


def front_rows(gap: float) -> list[list[str]]:
    """Fronts of 20 points: a table of large size, and ResNet-50 by the shipped profile, all included."""
    table = synthetic(0)
    rows = []
    for costs in (("latency",), ("latency", "params")):
        points, seconds = timed(lambda c=costs: trace_front(table, c, 20, gap=gap))  # type: ignore[misc]
        rows.append(["synthetic 105 × 42", " and ".join(costs), *_front_cells(points), seconds])
    network, analysed = timed(_resnet50)
    profile = advisor.load_profile("amd-epyc-resnet50")
    for costs in (("latency",), ("latency", "params")):
        front, seconds = timed(lambda c=costs: advisor.frontier(network, profile=profile, cost=c, points=20, gap=gap))  # type: ignore[misc]
        rows.append([f"resnet50 (analysis {analysed})", " and ".join(costs), *_front_cells(front.points), seconds])
    return rows


def _front_cells(points: Any) -> list[str]:
    return [str(len(points)), f"{100 * max(point.gap for point in points):.4f} %"]


def _resnet50() -> Any:
    import torch
    import torchvision

    with torch.device("meta"):
        model = torchvision.models.resnet50(weights=None)
    return advisor.analyze(model, (1, 3, 224, 224), name="torchvision:resnet50")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "spdy", metavar="FOLDER")
    parser.add_argument("--parts", default="spdy,growth,fronts", metavar="A,B", help="which tables to print")
    parser.add_argument("--seeds", type=int, default=2, help="synthetic tables of each of the smaller sizes")
    parser.add_argument("--gap", type=float, default=1e-3)
    given = parser.parse_args()
    parts = given.parts.split(",")
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, gap asked {given.gap:.2%}\n")
    if "spdy" in parts:
        if given.data.is_dir():
            heads = ["table", "L × K", "loss", "share", "ours", "gap", "s / CPU s"]
            for rival in ("dynamic program", "greedy", "step by step"):
                heads += [f"{rival}: loss", "over budget", "s / CPU s"]
            print(tabulate(spdy_rows(given.data, given.gap), headers=heads, disable_numparse=True), flush=True)
        else:
            print(f"SKIPPED: no timing tables under {given.data}; give their folder with --data", file=sys.stderr)
    if "growth" in parts:
        heads = ["L × K × budgets", "seed", "gap", "status", "s / CPU s", "greedy: loss", "s / CPU s"]
        print("\n" + tabulate(growth_rows(given.seeds, given.gap), headers=heads, disable_numparse=True), flush=True)
    if "fronts" in parts:
        heads = ["front of 20 points", "over", "points", "largest gap", "s / CPU s"]
        print("\n" + tabulate(front_rows(given.gap), headers=heads, disable_numparse=True), flush=True)


if __name__ == "__main__":
    main()
