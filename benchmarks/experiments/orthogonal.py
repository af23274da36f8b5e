"""Orthogonal convolutions beside orthogonal kernels and none: accuracy, spectrum and time of a step."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from statistics import fmean

import torch
from torch import nn

import advisor
from advisor.network import Layer
from experiments.common import Claim, Lab, compare, difference, experiment, row, sign
from experiments.trained import trained
from validation.data import Request, load_data
from validation.methods.orthogonal import Orthogonality, regularised, singular_values
from validation.recipe import Recipe

FORMS = ("plain", "kernel", "conv")
STRENGTH = 0.1  # of the unsquared norm: the default of the authors' code
SIZE = 40
LITTLE = 10  # percent of a step that "little overhead" allows


def network(width: int) -> nn.Sequential:
    """Five convolutions of 3x3 with batch norm, strides 1 and 2, and a classifier: 1 x 40 x 40 → 10."""
    parts: list[nn.Module] = []
    channels = 1
    for wide, stride in ((width, 2), (width, 1), (2 * width, 2), (2 * width, 1), (4 * width, 2)):
        parts += [nn.Conv2d(channels, wide, 3, stride, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU(inplace=True)]
        channels = wide
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


@experiment("orthogonal", paper="Wang et al. 2020 (Orthogonal CNNs)")
def run(lab: Lab) -> Iterator[Claim]:
    found = {
        form: {seed: lab.trial(f"{form}-seed{seed}", partial(_trial, lab, form, seed)) for seed in lab.seeds}
        for form in FORMS
    }

    def values(form: str, what: str) -> dict[int, float]:
        return {seed: numbers[what] for seed, numbers in found[form].items()}

    rows = tuple(row(f"accuracy, {form}", values(form, "accuracy")) for form in FORMS)
    for other in ("plain", "kernel"):
        gain = difference(f"conv less {other}", values("conv", "accuracy"), values(other, "accuracy"))
        yield Claim(
            text=f"orthogonal convolutions are more accurate than {other}",
            rows=(*rows, gain),
            shown=sign(gain),
            note=f"lambda {STRENGTH} x the unsquared norm",
        )
    for other in ("plain", "kernel"):
        flatter = compare(values("conv", "spread"), values(other, "spread"))
        yield Claim(
            text=f"their singular values are more alike than those of {other}",
            rows=tuple(row(f"standard deviation over mean, {form}", values(form, "spread")) for form in FORMS),
            shown=sign(flatter, expected=-1),
            note="of the whole circular convolution, mean over the regularised layers",
        )
    share = {
        seed: 100 * ms / found["plain"][seed]["step_ms"] - LITTLE for seed, ms in values("conv", "penalty_ms").items()
    }
    yield Claim(
        text=f"the penalty adds less than {LITTLE} % to a training step",
        rows=(
            row("a step without it", values("plain", "step_ms"), "ms"),
            row("penalty with gradient, kernel", values("kernel", "penalty_ms"), "ms"),
            row("penalty with gradient, conv", values("conv", "penalty_ms"), "ms"),
            row("conv, of a step", {seed: one + LITTLE for seed, one in share.items()}, "%"),
        ),
        shown=sign(row("", share), expected=-1),
        note="batch 64 on one CPU thread; the penalty's cost does not depend on batch and image",
    )


def _trial(lab: Lab, form: str, seed: int) -> dict[str, float]:
    quick = lab.scale == "quick"
    sizes = (128, 64) if quick else (3000, 2000)
    data = load_data("cluttered", Request(shape=(1, SIZE, SIZE), train_size=sizes[0], test_size=sizes[1]))
    torch.manual_seed(seed)
    module = network(4 if quick else 16)
    layers = regularised(advisor.analyze(module, torch.zeros(1, 1, SIZE, SIZE)))

    def methods() -> list[Orthogonality]:
        if form == "plain":
            return []
        return [Orthogonality(module, layers, strength=STRENGTH, form="conv" if form == "conv" else "kernel")]

    recipe = Recipe(epochs=1 if quick else 4, batch=64, optimizer="sgd", peak_rate=0.05, l2=1e-4)
    result = trained(module, data, recipe, seed=seed, methods=methods)
    numbers = {
        "accuracy": result.accuracy,
        "step_ms": result.step_ms,
        "spread": fmean(_spread(module, layer) for layer in layers),
    }
    if result.outcomes:
        numbers["penalty_ms"] = result.outcomes[0].numbers["orthogonality_step_ms"]
    return numbers


def _spread(module: nn.Module, layer: Layer) -> float:
    """How unlike a layer's singular values are: their standard deviation over their mean."""
    weight = module.get_submodule(layer.name).weight
    values = singular_values(weight, 4 * layer.stride[0], layer.stride)
    return float(values.std() / values.mean())
