"""Which connections to keep at a given density, in a network trained here: by seed, weights, gradients, and refitted.

    python benchmarks/selection.py [--data cluttered] [--pattern channel] [--densities 0.5,0.25,0.1] [--seeds 3]

Real digits that need no download, and the demo's network. For each seed a dense network is trained, then every layer
but the first and the last gets the same density, its connections chosen in each way. Each accuracy on the held-out
test images stands three times: as thinned out, with batch norm measured anew on 256 training images, and after a
short fine-tuning. "refit" is `advisor.reconstruct` on the same 256 images, for the connections that magnitude chose.
Means over the seeds with 95 % t-intervals. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy import stats
from tabulate import tabulate
from torch import nn

import advisor
from advisor.examples.batches import Calibration, calibration, output_of
from advisor.examples.norms import measure_norms
from advisor.models import load_model
from advisor.network import Network
from advisor.patterns.candidates import end_layers
from advisor.plans.plan import Plan
from validation.data import DataSet, Request, load_data
from validation.data.labelled import labelled
from validation.training.evaluation import evaluate
from validation.training.recipe import FINETUNE_RATE, Recipe
from validation.training.trainer import Trainer

MODEL = "zoo:digits_cnn"
SIDES = {"cluttered": 32, "digits": 8, "mnist5k": 28}
WAYS = ("random", "magnitude", "taylor", "fisher", "refit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Accuracies of one network, dense (density 1) or thinned out in one way; NaN where it was not tried."""

    way: str
    density: float
    seed: int
    thinned: float
    measured: float  # batch norm measured anew
    tuned: float
    seconds: float  # to choose and refit


def train(dense: nn.Module, data: DataSet, epochs: int, seed: int, rate: float | None = None) -> nn.Module:
    """Trains `dense` itself."""
    recipe = Recipe(epochs=epochs) if rate is None else Recipe(epochs=epochs, peak_rate=rate)
    trainer = Trainer(dense, recipe, data.train, seed=seed)
    for _ in range(epochs):
        trainer.run_epoch()
    return dense


def plan_of(network: Network, pattern: str, density: float, way: str, seed: int, examples: Calibration) -> Plan:
    """The same density in every layer but the ends."""
    ends = set(end_layers(network))
    pins = {layer.name: f"{pattern}@{density:g}" for layer in network.sparsifiable if layer.name not in ends}
    return advisor.plan(
        network,
        budgets={"params": "100%"},
        patterns=[pattern],
        selection="magnitude" if way == "refit" else way,
        seed=seed,
        data=examples,
        pins=pins,
    )


def measured_anew(module: nn.Module, examples: Calibration) -> nn.Module:
    """A copy with batch norm's statistics of the examples."""
    copied = copy.deepcopy(module)

    def passes() -> None:
        for batch in examples.batches:
            output_of(copied, batch)

    measure_norms(copied, passes)
    return copied


def one_seed(data: DataSet, seed: int, options: argparse.Namespace, tell: Callable[[str], None]) -> list[Result]:
    side = SIDES[options.data]
    loaded = load_model(MODEL, device="cpu", input_text=f"1x1x{side}x{side}", seed=seed)
    dense = train(loaded.module, data, options.epochs, seed)
    accuracy = evaluate(dense, data.test).accuracy
    found = [
        Result(way="dense", density=1, seed=seed, thinned=accuracy, measured=accuracy, tuned=accuracy, seconds=0.0)
    ]
    tell(f"seed {seed}: dense {accuracy:.3f}")
    network = advisor.analyze(dense, loaded.example_inputs, name=MODEL)
    examples = calibration(labelled(options.data, network.input_shapes, examples=256, seed=seed))
    for density in options.densities:
        for way in options.ways:
            began = time.perf_counter()
            plan = plan_of(network, options.pattern, density, way, seed, examples)
            if way == "refit":
                module = advisor.reconstruct(plan, dense, examples, norms=False)
                anew = measured_anew(module, examples)
            else:
                module = plan.apply(dense)
                anew = measured_anew(module, examples)
            seconds = time.perf_counter() - began
            thinned, measured = evaluate(module, data.test).accuracy, evaluate(anew, data.test).accuracy
            tuned = float("nan")
            if options.finetune:
                train(anew, data, options.finetune, seed, FINETUNE_RATE)
                tuned = evaluate(anew, data.test).accuracy
            found.append(
                Result(
                    way=way,
                    density=density,
                    seed=seed,
                    thinned=thinned,
                    measured=measured,
                    tuned=tuned,
                    seconds=seconds,
                )
            )
            tell(f"seed {seed}: {way} at {density:g}: {thinned:.3f}, {measured:.3f}, {tuned:.3f} ({seconds:.1f} s)")
    return found


def interval(values: list[float]) -> str:
    """Mean ± half of the 95 % t-interval."""
    if not np.isfinite(values).all():
        return ""
    if len(values) < 2:
        return f"{np.mean(values):.3f}"
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{np.mean(values):.3f} ± {half:.3f}"


def table(results: list[Result]) -> str:
    rows = []
    for density, way in dict.fromkeys((one.density, one.way) for one in results):
        same = [one for one in results if (one.density, one.way) == (density, way)]
        rows.append(
            [
                f"{density:g}",
                way,
                *(interval([getattr(one, name) for one in same]) for name in ("thinned", "measured", "tuned")),
                f"{np.mean([one.seconds for one in same]):.1f}",
            ]
        )
    headers = ["density", "connections", "as thinned out", "batch norm anew", "fine-tuned", "seconds"]
    return tabulate(rows, headers=headers, disable_numparse=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="cluttered", choices=sorted(SIDES))
    parser.add_argument("--pattern", default="channel")
    parser.add_argument("--densities", default="0.5,0.25,0.1", type=lambda text: [float(d) for d in text.split(",")])
    parser.add_argument("--ways", default=",".join(WAYS), type=lambda text: text.split(","))
    parser.add_argument("--seeds", default=3, type=int)
    parser.add_argument("--epochs", default=4, type=int, help="of the dense network")
    parser.add_argument("--finetune", default=1, type=int, help="epochs; 0 leaves it out")
    parser.add_argument("--train-size", type=int, help="all by default")
    parser.add_argument("--test-size", type=int, help="all by default")
    parser.add_argument("--json", type=Path, help="every run, for later")
    options = parser.parse_args()
    side = SIDES[options.data]
    wish = Request(shape=(1, side, side), train_size=options.train_size, test_size=options.test_size)
    data = load_data(options.data, wish)
    results: list[Result] = []
    for seed in range(options.seeds):
        results += one_seed(data, seed, options, lambda text: print(text, flush=True))
        if options.json:
            options.json.write_text(json.dumps([asdict(one) for one in results], indent=1))
    print(f"\n{MODEL}, {options.data} {side}x{side}, {len(data.train):,} training images, pattern {options.pattern}\n")
    print(table(results))


if __name__ == "__main__":
    main()
