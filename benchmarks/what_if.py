"""How fast plans are evaluated by the cost table alone: one plan, and many at once, beside the naive way.

    python benchmarks/what_if.py [--model torchvision:resnet50] [--plans 10000]

The synthetic table has 100 layers of 42 options with five costs and a loss; the network's has its width groups and the
peak of memory, too. "naive" calls `table.totals` and `table.objective` for each plan, which sum without rounding error
and are what budgets are checked with; "at once" calls `table.totals_of` and `table.objectives_of`. Nothing is asserted
but that both say the same.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable

import numpy as np
from tabulate import tabulate

from advisor.patterns.option import DENSE, Option
from advisor.planning.table import CostTable

LAYERS, OPTIONS = 100, 42
KEYS = ("params", "macs", "latency", "weight_memory", "energy")
ROUNDS, FEW = 5, 200


def synthetic() -> CostTable:
    rng = np.random.default_rng(0)
    densities = np.geomspace(1.0, 0.01, OPTIONS)
    options = (DENSE, *(Option(pattern="channel", density=float(d)) for d in densities[1:]))
    return CostTable(
        layers=tuple(f"layer{i}" for i in range(LAYERS)),
        options=(options,) * LAYERS,
        costs={key: tuple(rng.lognormal(5, 1) * densities for _ in range(LAYERS)) for key in KEYS},
        loss=tuple(-rng.uniform() * np.log(densities) for _ in range(LAYERS)),
    )


def of_network(name: str) -> CostTable:
    from advisor.commands.network import open_network
    from advisor.planning.build import build_table
    from advisor.planning.menu.options import DEFAULT_PATTERNS, menu

    network = open_network(name, None)
    return build_table(network, menu(network, DEFAULT_PATTERNS)).table


def random_plans(table: CostTable, count: int) -> np.ndarray:
    """(count, L) options drawn so that those of a width group agree: a level for each group, then what is left."""
    rng = np.random.default_rng(1)
    possible = [set(range(len(group.levels))) for group in table.groups]
    for needs in table.requires:
        for group, _ in needs[0]:
            possible[group] &= {level for pairs in needs for g, level in pairs if g == group}
    levels = [rng.choice(sorted(found), count) for found in possible]
    plans = np.empty((count, len(table.layers)), np.int64)
    for layer, needs in enumerate(table.requires):
        followed = [group for group, _ in needs[0]]
        wanted: dict[tuple[int, ...], list[int]] = {}
        for k, pairs in enumerate(needs):
            by_group = dict(pairs)
            wanted.setdefault(tuple(by_group[group] for group in followed), []).append(k)
        rows = np.array([levels[group] for group in followed]).reshape(len(followed), count).T
        plans[:, layer] = [rng.choice(wanted[tuple(row)]) for row in rows.tolist()]
    return plans


def seconds(call: Callable[[], object]) -> float:
    """The median of a few runs after one that does not count."""
    call()
    found = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return float(np.median(found))


def measured(label: str, table: CostTable, count: int) -> list[str]:
    plans = random_plans(table, count)
    assert table.agree(plans).all()
    one = plans[0]
    start = time.perf_counter()
    table.totals_of(one)  # lays the table out
    laid_out = time.perf_counter() - start
    naive_one = seconds(lambda: (table.totals(one), table.objective(one)))
    once = seconds(lambda: (table.totals_of(one), table.objectives_of(one)))
    few = plans[:FEW]
    naive = seconds(lambda: [(table.totals(plan), table.objective(plan)) for plan in few]) * len(plans) / len(few)
    many = seconds(lambda: (table.totals_of(plans), table.objectives_of(plans), table.agree(plans)))
    totals, losses = table.totals_of(few), table.objectives_of(few)
    for row, plan in enumerate(few):
        exact = table.totals(plan) | {"loss": table.objective(plan)}
        found = {key: values[row] for key, values in totals.items()} | {"loss": losses[row]}
        assert all(np.isclose(found[key], exact[key], rtol=1e-12) for key in exact), (plan, found, exact)
    return [
        label,
        str(len(table.layers)),
        str(len(table.groups)),
        str(len(table.keys)),
        f"{1e3 * laid_out:.1f}",
        f"{1e3 * naive_one:.2f}",
        f"{1e3 * once:.2f}",
        f"{len(plans):,}",
        f"{naive:.2f}",
        f"{many:.3f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="torchvision:resnet50")
    parser.add_argument("--plans", type=int, default=10_000)
    asked = parser.parse_args()
    rows = [
        measured("synthetic", synthetic(), asked.plans),
        measured(asked.model, of_network(asked.model), asked.plans),
    ]
    columns = ["table", "layers", "width groups", "costs", "lay out ms", "one plan ms, naive", "one plan ms, at once"]
    columns += ["plans", "all s, naive", "all s, at once"]
    print(f"{platform.processor() or platform.machine()}, one process; naive over {FEW} plans, scaled up")
    print(tabulate(rows, headers=columns, disable_numparse=True))


if __name__ == "__main__":
    main()
