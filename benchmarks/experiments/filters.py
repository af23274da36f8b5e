"""Filters that die by themselves (Mehta, Kim and Theobalt 2019): by optimiser and decay, and what taking them out does.

The written digits of 8x8 pixels, a network of three convolutions with batch norm and ReLU, trained as
`advisor validate` trains. The two criteria are the paper's: |gamma| < 1e-3, and no activation above 1e-12 on any image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import torch
from torch import nn

import advisor
from experiments.common import Claim, Lab, Shown, difference, experiment, row, sign
from validation.data.registry import DataSet, Request, load_data
from validation.methods.filters.method import FilterDetector
from validation.training.evaluation import evaluate
from validation.training.recipe import Recipe, placed
from validation.training.trainer import Trainer

RATES = {"sgd": 0.1, "adam": 3e-2, "adamw": 3e-2, "rmsprop": 2e-3}  # peaks that train well without any decay
STRENGTHS = (3e-3, 1e-2)
WIDTH, EPOCHS, BATCH, SEEDS = 24, 16, 16, 3

GAMMA, ACTIVATION = "inactive_by_gamma", "inactive_by_activation"

Setting = tuple[str, float]  # optimiser, strength of its decay
Numbers = Mapping[int, Mapping[str, float]]  # by seed


def network() -> nn.Module:
    """1 8 8 → 10: 24, 48 and 48 filters."""

    def block(before: int, after: int, stride: int) -> tuple[nn.Module, ...]:
        return nn.Conv2d(before, after, 3, stride, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()

    return nn.Sequential(
        *(*block(1, WIDTH, 1), nn.MaxPool2d(2), *block(WIDTH, 2 * WIDTH, 2), *block(2 * WIDTH, 2 * WIDTH, 1)),
        *(nn.Flatten(), nn.Linear(8 * WIDTH, 10)),
    )


def trial(optimizer: str, strength: float, seed: int, data: DataSet, epochs: int) -> dict[str, float]:
    """One training; decay is L2 except under adamw, where it stands beside the gradient."""
    torch.manual_seed(seed)
    module = network()
    decay = {"weight_decay" if optimizer == "adamw" else "l2": strength}
    recipe = Recipe(epochs=epochs, batch=BATCH, peak_rate=RATES[optimizer], optimizer=optimizer, curves=False, **decay)
    trainer = Trainer(module, recipe, data.train, seed=seed)
    for _ in range(epochs):
        trainer.run_epoch()
    images = placed(data.train.batch(torch.arange(len(data.train)))[0], recipe.device)
    detector = FilterDetector(module, advisor.analyze(module, (1, *data.shape)), lambda: [images], remove=True)
    found = {"accuracy %": 100 * evaluate(module, data.test).accuracy}
    numbers = dict(detector.finish().numbers)
    found["accuracy after %"] = 100 * evaluate(module, data.test).accuracy
    for kind in (GAMMA, ACTIVATION):
        found[kind] = 100 * numbers[kind] / numbers["filters"]
    for cost in ("params", "macs"):
        found[f"{cost} left %"] = 100 * numbers.get(f"{cost}_after", 1.0) / numbers.get(f"{cost}_before", 1.0)
    return found | {key: numbers.get(key, 0.0) for key in ("removed_filters", "largest_change")}


def column(numbers: Numbers, key: str) -> dict[int, float]:
    return {seed: one[key] for seed, one in numbers.items()}


def label(optimizer: str, strength: float) -> str:
    if not strength:
        return f"{optimizer}, no decay"
    return f"{optimizer}, {'weight decay' if optimizer == 'adamw' else 'L2'} {strength:g}"


@experiment("filters", paper="Mehta, Kim and Theobalt 2019")
def run(lab: Lab) -> Iterator[Claim]:
    """Inactive filters by optimiser and decay, then removal."""
    data = load_data("digits", Request(shape=(1, 8, 8)))
    epochs = EPOCHS if lab.scale == "full" else 1
    found: dict[Setting, Numbers] = {}
    for name in RATES:
        for strength in (0.0, *STRENGTHS) if name != "adamw" else STRENGTHS:
            found[name, strength] = {
                seed: lab.trial(f"{name}-{strength:g}-{seed}", partial(trial, name, strength, seed, data, epochs))
                for seed in lab.seeds[:SEEDS]
            }
    weak, strong = STRENGTHS
    yield _all(found)
    yield _none(found)
    yield _against(found, ("adam", weak), ("sgd", weak), "Adam kills more filters than SGD with the same L2")
    yield _against(found, ("adam", strong), ("sgd", strong), "So it does with more L2")
    yield _against(found, ("rmsprop", strong), ("sgd", strong), "RMSprop, adaptive too, kills more than SGD")
    yield _against(found, ("adam", weak), ("adamw", weak), "L2 kills more filters than decay of the same strength")
    yield _against(found, ("adam", strong), ("adam", weak), "More L2 under Adam kills more filters")
    yield _removal(found["adam", strong], label("adam", strong))


def _all(found: Mapping[Setting, Numbers]) -> Claim:
    rows = [
        row(f"{label(*key)}: {what}", column(numbers, kind), unit)
        for key, numbers in found.items()
        for what, kind, unit in (
            ("inactive by gamma", GAMMA, "% of filters"),
            ("inactive by activation", ACTIVATION, "% of filters"),
            ("accuracy", "accuracy %", "%"),
        )
    ]
    hit = any(one.mean > 0 for one in rows if one.unit == "% of filters")
    return Claim(
        text="Filters die by themselves in a network with batch norm and ReLU",
        rows=tuple(rows),
        shown="shown" if hit else "not shown",
        note="Peak rates: " + ", ".join(f"{name} {rate:g}" for name, rate in RATES.items()) + "; SGD has momentum 0.9.",
    )


def _none(found: Mapping[Setting, Numbers]) -> Claim:
    rows = tuple(
        row(f"{label(*key)}: {kind}", column(numbers, kind), "% of filters")
        for key, numbers in found.items()
        for kind in (GAMMA, ACTIVATION)
        if key[1] == 0
    )
    shown: Shown = "shown" if all(one.mean == 0 for one in rows) else "not shown"
    return Claim(text="Without any decay no filter dies, whichever the optimiser", rows=rows, shown=shown)


def _against(found: Mapping[Setting, Numbers], high: Setting, low: Setting, text: str) -> Claim:
    """Judged by activation; the other criterion and the accuracy stand beside."""
    rows = [
        difference(
            f"{label(*high)} - {label(*low)}: {key}", column(found[high], key), column(found[low], key), "points"
        )
        for key in (ACTIVATION, GAMMA, "accuracy %")
    ]
    return Claim(text=text, rows=tuple(rows), shown=sign(rows[0]))


def _removal(numbers: Numbers, setting: str) -> Claim:
    same = all(one["accuracy %"] == one["accuracy after %"] for one in numbers.values())
    keys = ("removed_filters", "params left %", "macs left %", "accuracy %", "accuracy after %", "largest_change")
    return Claim(
        text=f"Inactive filters go, with their parameters and MACs, and the accuracy stays as it was ({setting})",
        rows=tuple(row(key, column(numbers, key)) for key in keys),
        shown="shown" if same and all(one["removed_filters"] > 0 for one in numbers.values()) else "not shown",
        note="Nothing is trained after the removal; largest_change is of a logit, over the first training images.",
    )
