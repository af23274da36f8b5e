"""Solve times and gaps of the exact planner beside a greedy one, on tables of ResNet-50's size.

    python benchmarks/planner.py [--spdy FOLDER] [--seeds 2]

The synthetic tables have 105 layers × 42 options under three budgets at once. `--spdy` adds tables made of real CPU
timings: text files as SPDY (Frantar and Alistarh 2022) stores them, one block per layer of "seconds sparsity" lines.
The loss is −ln(density) per layer, weighted by the ERK score where layers have one. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tabulate import tabulate

from advisor.errors import AdvisorError
from advisor.patterns.option import DENSE, Option
from advisor.planning.frontier import trace_front
from advisor.planning.solve import solve
from advisor.planning.table import CostTable

LAYERS, OPTIONS = 105, 42


def synthetic(seed: int) -> CostTable:
    """Layers of sizes as in a large network; times fall with the density, less than in proportion, and noisily."""
    rng = np.random.default_rng(seed)
    densities = np.append(1.0, np.geomspace(0.95, 0.01, OPTIONS - 1))
    params = np.exp(rng.normal(11, 1.2, LAYERS))
    macs = np.exp(rng.normal(17, 1.0, LAYERS))
    weight = rng.lognormal(0, 1, LAYERS)
    ms = macs / 1e8
    return table(
        [f"layer{i}" for i in range(LAYERS)],
        [densities] * LAYERS,
        {
            "params": [np.ceil(n * densities) for n in params],
            "macs": [np.ceil(n * densities) for n in macs],
            "latency": [n * (0.15 + 0.85 * densities) * rng.uniform(0.9, 1.1, OPTIONS) for n in ms],
        },
        weight / weight.sum(),
    )


def spdy(path: Path) -> CostTable:
    """One timing file: a name, then lines of seconds and sparsity, for each layer; "base" and "prunable" are totals."""
    names: list[str] = []
    rows: list[list[tuple[float, float]]] = []
    for line in path.read_text().splitlines():
        words = line.split()
        if len(words) == 2:
            rows[-1].append((1e3 * float(words[0]), 1 - float(words[1])))
        elif words and not words[0].replace(".", "").isdigit():
            names.append(words[0])
            rows.append([])
    layers = [(name, np.array(row)) for name, row in zip(names, rows, strict=True) if row]
    count = len(layers)
    return table(
        [name for name, _ in layers],
        [np.maximum(row[:, 1], 1e-3) for _, row in layers],
        {"latency": [row[:, 0] for _, row in layers]},
        np.full(count, 1 / count),
    )


def table(
    names: list[str], densities: list[np.ndarray], costs: Mapping[str, list[np.ndarray]], weights: np.ndarray
) -> CostTable:
    options = [
        (
            DENSE,
            *(Option(pattern="unstructured", density=float(d), parameters={"level": k}) for k, d in enumerate(row[1:])),
        )
        for row in densities
    ]
    return CostTable(
        layers=tuple(names),
        options=tuple(options),
        costs={key: tuple(columns) for key, columns in costs.items()},
        loss=tuple(w * np.abs(np.log(row)) for w, row in zip(weights, densities, strict=True)),
    )


def greedy(costs: CostTable, limits: Mapping[str, float]) -> float | None:
    """From dense, again and again the exchange of one option that saves most of what is over per loss added."""
    choice = np.array(costs.dense)
    count = len(costs.layers)
    keys = list(limits)
    columns = [np.array([costs.costs[key][layer] for key in keys]) for layer in range(count)]  # (M, K)
    totals = np.array([costs.total(key, choice) for key in keys])
    limit = np.array([limits[key] for key in keys])
    while np.any(over := np.maximum(totals - limit, 0) / limit):
        best: tuple[float, int, int] | None = None
        for layer in range(count):
            now = choice[layer]
            saved = np.minimum(columns[layer][:, now : now + 1] - columns[layer], over[:, None] * limit[:, None])
            worth = (saved / limit[:, None])[over > 0].sum(axis=0)
            added = costs.loss[layer] - costs.loss[layer][now]
            rate = np.where((worth > 1e-12) & (added > 0), worth / np.maximum(added, 1e-12), -np.inf)
            k = int(np.argmax(rate))
            if rate[k] > 0 and (best is None or rate[k] > best[0]):
                best = (float(rate[k]), layer, k)
        if best is None:
            return None
        _, layer, k = best
        totals = totals + columns[layer][:, k] - columns[layer][:, choice[layer]]
        choice[layer] = k
    return costs.objective(choice)


def rows_of(name: str, costs: CostTable, shares: tuple[float, ...], gap: float) -> list[list[str]]:
    rows = []
    size = f"{len(costs.layers)} × {max(map(len, costs.options))}"
    for share in shares:
        limits = {key: share * costs.total(key, costs.dense) for key in costs.keys}
        began = time.perf_counter()
        try:
            found = solve(costs, limits, gap=gap)
        except AdvisorError as error:
            rows.append([name, size, str(len(limits)), f"{share:.0%}", str(error)[:60]])
            continue
        seconds = time.perf_counter() - began
        began = time.perf_counter()
        rival = greedy(costs, limits)
        rival_seconds = time.perf_counter() - began
        worse = "finds none" if rival is None else f"{100 * (rival / found.objective - 1):.2f} %"
        quality = [f"{seconds:.2f}", f"{100 * found.gap:.4f} %", found.status, f"{rival_seconds:.2f}", worse]
        rows.append([name, size, str(len(limits)), f"{share:.0%}", *quality])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spdy", type=Path, metavar="FOLDER", help="timing tables in SPDY's format")
    parser.add_argument("--seeds", type=int, default=2, help="synthetic tables")
    parser.add_argument("--gap", type=float, default=1e-3)
    arguments = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, gap asked {arguments.gap:.2%}\n")
    rows = []
    for seed in range(arguments.seeds):
        rows += rows_of(f"synthetic {seed}", synthetic(seed), (0.7, 0.5, 0.3), arguments.gap)
    if arguments.spdy is not None:
        for path in sorted(arguments.spdy.glob("*.txt")):
            rows += rows_of(path.stem, spdy(path), (0.8, 0.6, 0.5), arguments.gap)
    heads = ["table", "L × K", "budgets", "share", "seconds", "gap", "status", "greedy s", "greedy is worse by"]
    print(tabulate(rows, headers=heads, disable_numparse=True))
    began = time.perf_counter()
    front = trace_front(synthetic(0), "latency", 20, gap=arguments.gap)
    largest = max(point.gap for point in front)
    print(f"\nfront of 20 points: {time.perf_counter() - began:.1f} s, {len(front)} points, largest gap {largest:.3%}")


if __name__ == "__main__":
    main()
