"""Orthogonal convolutions beside orthogonal kernels and none: accuracy, spectrum and time of a step."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from statistics import fmean, median

import torch
from torch import nn

import advisor
from advisor.network import Layer
from experiments.common import Claim, Lab, difference, experiment, row, sign
from experiments.trained import trained
from validation.data import Request, load_data
from validation.methods.orthogonal import Orthogonality, regularised, singular_values
from validation.training.recipe import Recipe

FORMS = ("plain", "kernel", "conv")
STRENGTHS = (0.1, 0.01)  # of the unsquared norm; 0.1 is the default of the authors' code, for 90 epochs
SIZE, BATCH = 40, 64
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
    settings = ["plain", *(f"{form}-{strength}" for strength in STRENGTHS for form in FORMS[1:])]
    found = {
        one: {seed: lab.trial(f"{one}-seed{seed}", partial(_trial, lab, one, seed)) for seed in lab.seeds}
        for one in settings
    }

    def values(one: str, what: str) -> dict[int, float]:
        return {seed: numbers[what] for seed, numbers in found[one].items()}

    accuracies = tuple(row(f"accuracy, {one}", values(one, "accuracy")) for one in settings)
    spreads = tuple(row(f"standard deviation over mean, {one}", values(one, "spread")) for one in settings)
    for strength in STRENGTHS:
        for other in ("plain", f"kernel-{strength}"):
            conv = f"conv-{strength}"
            gain = difference(f"{conv} less {other}", values(conv, "accuracy"), values(other, "accuracy"))
            yield Claim(
                text=f"orthogonal convolutions (lambda {strength}) are more accurate than {other}",
                rows=(*accuracies, gain),
                shown=sign(gain),
            )
            flatter = difference(f"{conv} less {other}", values(conv, "spread"), values(other, "spread"))
            yield Claim(
                text=f"their singular values (lambda {strength}) are more alike than those of {other}",
                rows=(*spreads, flatter),
                shown=sign(flatter, expected=-1),
                note="of the whole circular convolution, mean over the regularised layers",
            )
    times = {seed: lab.trial(f"time-seed{seed}", partial(_times, lab, seed)) for seed in lab.seeds}
    added = {form: {seed: ms[form] - ms["plain"] for seed, ms in times.items()} for form in FORMS if form != "plain"}
    share = {seed: 100 * ms / times[seed]["plain"] for seed, ms in added["conv"].items()}
    yield Claim(
        text=f"the penalty adds less than {LITTLE} % to a training step",
        rows=(
            row("a step without it", {seed: ms["plain"] for seed, ms in times.items()}, "ms"),
            row("added by kernel", added["kernel"], "ms"),
            row("added by conv", added["conv"], "ms"),
            row("added by conv, of a step", share, "%"),
        ),
        shown=sign(row("", [one - LITTLE for one in share.values()]), expected=-1),
        note=f"batch {BATCH}, one CPU thread by its own clock, the three in turn; the cost of a penalty does not "
        "depend on batch and image",
    )


def _trial(lab: Lab, setting: str, seed: int) -> dict[str, float]:
    quick = lab.scale == "quick"
    sizes = (128, 64) if quick else (3000, 2000)
    data = load_data("cluttered", Request(shape=(1, SIZE, SIZE), train_size=sizes[0], test_size=sizes[1]))
    module, layers = _made(lab, seed)
    recipe = Recipe(epochs=1 if quick else 4, batch=BATCH, optimizer="sgd", peak_rate=0.05, l2=1e-4)
    result = trained(module, data, recipe, seed=seed, methods=partial(_methods, module, layers, setting))
    return {"accuracy": result.accuracy, "spread": fmean(_spread(module, layer) for layer in layers)}


def _made(lab: Lab, seed: int) -> tuple[nn.Module, tuple[Layer, ...]]:
    torch.manual_seed(seed)
    module = network(4 if lab.scale == "quick" else 16)
    return module, regularised(advisor.analyze(module, torch.zeros(1, 1, SIZE, SIZE)))


def _methods(module: nn.Module, layers: tuple[Layer, ...], setting: str) -> list[Orthogonality]:
    """Of "plain", "conv-0.1" or "kernel-0.1"."""
    if setting == "plain":
        return []
    form, strength = setting.split("-")
    return [Orthogonality(module, layers, strength=float(strength), form="conv" if form == "conv" else "kernel")]


def _times(lab: Lab, seed: int) -> dict[str, float]:
    """Milliseconds of forward and backward with each form: medians, measured in turn."""
    module, layers = _made(lab, seed)
    images, labels = torch.randn(BATCH, 1, SIZE, SIZE), torch.arange(BATCH) % 10
    settings = {"plain": "plain", "kernel": "kernel-0.1", "conv": "conv-0.1"}  # the strength costs no time
    methods = {form: _methods(module, layers, setting) for form, setting in settings.items()}
    times: dict[str, list[float]] = {form: [] for form in FORMS}
    for _ in range(4 if lab.scale == "quick" else 25):
        for form in FORMS:
            began = time.thread_time()
            loss = nn.functional.cross_entropy(module(images), labels)
            for method in methods[form]:
                loss = loss + method.penalty()
            loss.backward()
            times[form].append(time.thread_time() - began)
            module.zero_grad()
    return {form: 1e3 * median(values[1:]) for form, values in times.items()}


def _spread(module: nn.Module, layer: Layer) -> float:
    """How unlike a layer's singular values are: their standard deviation over their mean."""
    weight = module.get_submodule(layer.name).weight
    values = singular_values(weight, 4 * layer.stride[0], layer.stride)
    return float(values.std() / values.mean())
