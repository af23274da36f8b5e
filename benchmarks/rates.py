"""Is the learning rate that a sweep suggests worth taking? Beside the usual fixed one, and the best of a grid.

    python benchmarks/rates.py [--seeds 3] [--epochs 3] [--minutes 10]

For each pair of network and optimiser: a sweep on the dense network of seed 0 (`validate --rate auto`), then short
trainings of other seeds at the rate it suggests, at the usual fixed rate and at each rate of a grid. Prints accuracies,
the paired difference of auto and fixed with its 95 % interval, and where the best rate of the grid lies beside the rate
of the sweep's least loss. The grid is judged on the same runs as it is chosen from, so its best is a little too good.
Nothing is asserted.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import torch
from tabulate import tabulate
from torch import nn

from validation.contestants import builder
from validation.data import DataSet, Request, load_data
from validation.reporting.statistics import paired
from validation.training.evaluation import evaluate
from validation.training.rates import sweep
from validation.training.recipe import SCRATCH_RATE, Recipe
from validation.training.trainer import DivergedError, Trainer

NETWORKS = f"{Path(__file__).parent / 'judging' / 'networks.py'}"
CASES = (
    (f"{NETWORKS}:strided", "cluttered", "adam"),
    (f"{NETWORKS}:strided", "cluttered", "sgd"),
    (f"{NETWORKS}:strided", "mnist5k", "rmsprop"),
    ("zoo:lenet5", "mnist5k", "adam"),
    ("zoo:lenet5", "mnist5k", "sgd"),
)
GRID = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
TRAIN, TEST, BATCH = 960, 1000, 32


def reached(build: Callable[[int], nn.Module], data: DataSet, recipe: Recipe, seeds: range) -> dict[int, float]:
    """Seed → test accuracy; a run that diverges is as good as guessing among ten classes."""
    found = {}
    for seed in seeds:
        trainer = Trainer(build(seed), recipe, data.train, seed=seed)
        try:
            for _ in range(recipe.epochs):
                trainer.run_epoch()
            found[seed] = evaluate(trainer.module, data.test).accuracy
        except DivergedError:
            found[seed] = 0.1
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=10.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    until = time.monotonic() + 60 * options.minutes
    seeds = range(1, options.seeds + 1)  # the sweep had seed 0
    rows = []
    for spec, name, optimizer in CASES:
        if time.monotonic() > until:
            print(f"no time left for {spec.rpartition(':')[2]}, {optimizer}")
            continue
        data = load_data(name, Request(shape=(1, 28, 28), train_size=TRAIN, test_size=TEST))
        build = builder(spec, ((1, 1, 28, 28),))
        usual = Recipe(epochs=options.epochs, batch=BATCH, optimizer=optimizer)
        found = sweep(build(0), data.train, usual, seed=0)
        least = found.rates[min(range(len(found.losses)), key=found.losses.__getitem__)]

        def at(rate: float, build=build, data=data, usual=usual) -> dict[int, float]:
            recipe = Recipe(epochs=usual.epochs, batch=BATCH, optimizer=usual.optimizer, peak_rate=rate)
            return reached(build, data, recipe, seeds)

        grid = {rate: at(rate) for rate in GRID}
        fixed, auto = grid[SCRATCH_RATE], at(found.peak)
        best = max(grid, key=lambda rate: fmean(grid[rate].values()))
        apart = paired(auto, fixed)
        assert apart is not None
        spread = f"{100 * apart.mean:+.1f}" + (
            f" ({100 * apart.low:+.1f} to {100 * apart.high:+.1f})"
            if apart.low is not None and apart.high is not None
            else ""
        )
        means = [f"{100 * fmean(runs.values()):.1f}" for runs in (fixed, auto, grid[best])]
        rows.append([spec.rpartition(":")[2], name, optimizer, *means[:2], spread, f"{found.peak:.2g}", means[2],
                     f"{best:g}", f"1/{least / best:.1f}"])  # fmt: skip
    headers = ["network", "data", "optimizer", f"fixed {SCRATCH_RATE:g} [%]", "auto [%]", "auto - fixed [points]",
               "auto's rate", "best of grid [%]", "its rate", "of least loss's"]  # fmt: skip
    print(tabulate(rows, headers=headers, disable_numparse=True))


if __name__ == "__main__":
    main()
