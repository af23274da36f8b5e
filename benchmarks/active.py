"""How few measurements a table of latencies needs: a full profile replayed in other orders, nothing timed again.

    python benchmarks/active.py
    python benchmarks/active.py --profile r18.json --model torchvision:resnet18 --patterns group,channel

Measurements are taken from the profile, in passes of one form of each layer as `advisor profile` takes them: *active*
chooses each pass by what the ones before it told (`measuring.active`), *fixed* by the order known beforehand,
*random* by chance. After each share of the measurements the rest of the table is predicted. Printed are its median
error over all forms (measured ones have none), the same of the forms that plans for the budgets choose with the full
table, and of plans made with the partial table: by how much the full table says that they miss their budget, and by how
much their estimated loss is above that of the plan for the same time made with the full table.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean, median

import numpy as np
from tabulate import tabulate

import advisor
from advisor.commands.network import open_network
from advisor.devices.measuring.active import next_worths
from advisor.devices.measuring.scout import wanted_by_plans
from advisor.devices.measuring.work import Task, in_order, options_of, tasks_of, worths
from advisor.devices.predicting.compose import predict_latency
from advisor.devices.profile import Measurement, Profile
from advisor.network import Network
from advisor.runtime.execution import Execution

SHARES = (0.05, 0.1, 0.2, 0.3, 0.5)
BUDGETS = ("80%", "65%", "50%", "40%")
HEADERS = [
    "order",
    "measured",
    "table error %",
    "p90 %",
    "plans' forms %",
    "plans miss by %",
    "at worst %",
    "loss above %",
]
Worth = Callable[[set[str], Mapping[str, Measurement]], Mapping[str, float]]


def order_of(tasks: Sequence[Task], full: Mapping[str, Measurement], worth: Worth, count: int) -> list[str]:
    """Keys in the order measured, at least `count`: the dense ones first, then passes of one form for each layer."""
    taken = [task.execution.key for task in tasks if task.dense]
    layers: dict[tuple[object, ...], list[Task]] = defaultdict(list)
    for task in tasks:
        if not task.dense:
            layers[layer_of(task.execution)].append(task)
    while len(taken) < min(count, len(tasks)):
        waiting = {task.execution.key for task in tasks} - set(taken)
        value = worth(waiting, {key: full[key] for key in taken})
        chosen = []
        for forms in layers.values():
            left = [task.execution.key for task in forms if task.execution.key in waiting]
            if left:
                chosen.append(max(left, key=lambda key: (value.get(key, 0.0), key)))
        # The most telling layers first, since the share may end within a pass.
        taken += sorted(chosen, key=lambda key: -value.get(key, 0.0))
    return taken


def layer_of(e: Execution) -> tuple[object, ...]:
    """What a pass measures one form of: a layer's shape; narrower layers, which passes cannot take, by image size."""
    if e.method == "direct":
        return (e.kind, e.input_shape, e.weight_shape, e.stride)
    return (e.kind, e.method, e.input_shape[2:], e.weight_shape[2:], e.stride)


def judge(
    network: Network, full: Profile, part: Profile, forms: Sequence[Execution], patterns: list[str]
) -> list[float]:
    """The partial profile beside the full one; see HEADERS."""
    error = [
        100 * abs(part.latency(e).median_ms / full.latency(e).median_ms - 1)
        for e in (m.execution for m in full.measurements.values())
    ]
    used = [100 * abs(part.latency(e).median_ms / full.latency(e).median_ms - 1) for e in forms]
    missed, above = [], []
    dense = predict_latency(network, full).latency_ms
    for budget in BUDGETS:
        limit = dense * float(budget.rstrip("%")) / 100
        plan = advisor.plan(network, profile=part, budgets={"latency": f"{limit:.6f}ms"}, patterns=patterns, gap=1e-3)
        taken = predict_latency(network, full, plan).latency_ms
        missed.append(100 * (taken / limit - 1))
        best = advisor.plan(
            network, profile=full, budgets={"latency": f"{1.000001 * taken:.6f}ms"}, patterns=patterns, gap=1e-3
        )
        above.append(100 * (plan.objective / best.objective - 1))
    worst = max(missed, key=abs)
    return [median(error), float(np.quantile(error, 0.9)), fmean(used), fmean(map(abs, missed)), worst, fmean(above)]


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="amd-epyc-resnet50", help="a full one, nothing left to prediction")
    parser.add_argument("--model", default="torchvision:resnet50")
    parser.add_argument("--patterns", default="group,channel", help="separated by commas")
    parser.add_argument("--seeds", type=int, default=2, help="of the random order")
    arguments = parser.parse_args(words)
    network = open_network(arguments.model, None, device="meta")
    full = advisor.load_profile(arguments.profile)
    patterns = arguments.patterns.split(",")
    options = options_of(network, tuple(patterns))
    tasks = [t for t in in_order(tasks_of(network, options, training=False)) if t.execution.key in full.measurements]
    held = {task.execution.key: full.measurements[task.execution.key] for task in tasks}
    full = replace(full, measurements=held)
    before = worths(tasks)
    orders: dict[str, list[Worth]] = {
        "active": [active(network, full, tasks, before, patterns)],
        "fixed": [lambda waiting, known: before],
        "random": [random_worth(list(held), seed) for seed in range(arguments.seeds)],
    }
    forms = used_by_plans(network, full, patterns)
    rows = []
    for name, found in orders.items():
        taken = [order_of(tasks, held, worth, round(SHARES[-1] * len(tasks))) for worth in found]
        for share in SHARES:
            count = round(share * len(tasks))
            parts = [replace(full, measurements={key: held[key] for key in keys[:count]}) for keys in taken]
            judged = [judge(network, full, part, forms, patterns) for part in parts]
            rows.append([name, f"{share:.0%}", *(f"{fmean(column):.2f}" for column in zip(*judged, strict=True))])
    print(tabulate(rows, headers=HEADERS, disable_numparse=True, colalign=("left", *["right"] * 7)))
    print(f"{len(tasks)} kinds of work of {network.name}; {len(forms)} of them in the plans for {', '.join(BUDGETS)}")
    return 0


def used_by_plans(network: Network, full: Profile, patterns: list[str]) -> list[Execution]:
    """What plans made with the full table run, dense layers left out."""
    from advisor.runtime.execution import executions

    found: dict[str, Execution] = {}
    for budget in BUDGETS:
        plan = advisor.plan(network, profile=full, budgets={"latency": budget}, patterns=patterns, gap=1e-3)
        for layer in plan.layers:
            if layer.pattern != "dense" and layer.method is not None:
                runs = executions(network.layer(layer.name), layer.option, method=layer.method)
                found.update({e.key: e for e in runs if e.method != "dense"})
    return list(found.values())


def active(
    network: Network, full: Profile, tasks: Sequence[Task], before: Mapping[str, float], patterns: list[str]
) -> Worth:
    """As `advisor.devices.measuring.lookout` does, with a look at what plans want after every pass."""

    def worth(waiting: set[str], known: Mapping[str, Measurement]) -> Mapping[str, float]:
        sparse = any(m.execution.method == "direct" for m in known.values())
        part = replace(full, measurements=dict(known))
        wanted = wanted_by_plans(network, part, patterns) if sparse else frozenset()
        return next_worths(tasks, waiting, known, before, wanted)

    return worth


def random_worth(keys: list[str], seed: int) -> Worth:
    generator = np.random.default_rng(seed)
    value = dict(zip(keys, generator.random(len(keys)).tolist(), strict=True))
    return lambda waiting, known: value


if __name__ == "__main__":
    sys.exit(main())
