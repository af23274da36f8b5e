"""Activation-gradient pruning: densities, accuracy and the multiply-adds of a sparse trainer, against p."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from statistics import fmean

import torch
from torch import nn

import advisor
from advisor.devices.simulated.trace import Trace, from_lines
from experiments.common import Claim, Lab, compare, difference, experiment, row, sign
from experiments.trained import trained
from validation.data import Request, load_data
from validation.methods.gradients import ActivationGradientPruning, normal_zero_share, place
from validation.training.recipe import Recipe

SHARES = (0.0, 0.7, 0.9, 0.99)
KINDS = ("conv-relu", "conv-bn-relu")
LOST = 0.01  # accuracy that "no loss" allows


def network(kind: str, width: int) -> nn.Sequential:
    """Four convolutions of 3x3, with or without batch norm, and a classifier: 1 x 28 x 28 → 10."""
    parts: list[nn.Module] = []
    channels = 1
    for number, stride in enumerate((1, 2, 1, 2)):
        wide = width * (1 + number // 2)
        parts.append(nn.Conv2d(channels, wide, 3, stride, 1, bias=kind == "conv-relu"))
        parts += [nn.BatchNorm2d(wide)] * (kind == "conv-bn-relu")
        parts.append(nn.ReLU(inplace=True))
        channels = wide
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


@experiment("gradient-pruning", paper="Dai et al. 2020 (SparseTrain)")
def run(lab: Lab) -> Iterator[Claim]:
    found = {
        (kind, p): {
            seed: lab.trial(f"{kind}-p{p}-seed{seed}", partial(_trial, lab, kind, p, seed)) for seed in lab.seeds
        }
        for kind in KINDS
        for p in SHARES
    }

    def values(kind: str, p: float, what: str) -> dict[int, float]:
        return {seed: numbers[what] for seed, numbers in found[kind, p].items()}

    for kind, place_of in zip(KINDS, ("dI", "dO"), strict=True):
        falls = compare(values(kind, 0.9, "dO"), values(kind, 0.0, "dO"))
        yield Claim(
            text=f"{kind}: pruning (at {place_of}) leaves fewer nonzero gradients for both backward stages",
            rows=(
                *(row(f"density of dO, p = {p}", values(kind, p, "dO")) for p in SHARES),
                difference("p = 0.9 less p = 0", values(kind, 0.9, "dO"), values(kind, 0.0, "dO")),
            ),
            shown=sign(falls, expected=-1),
            note="means over layers, of the steps after the queue had filled",
        )
        kept = compare(values(kind, 0.9, "accuracy"), values(kind, 0.0, "accuracy"))
        holds = kept.low is not None and kept.low > -LOST
        worse = kept.high is not None and kept.high < -LOST
        yield Claim(
            text=f"{kind}: p = 0.9 costs less than {LOST:.0%} of accuracy (in points)",
            rows=(
                row("accuracy, p = 0", values(kind, 0.0, "accuracy")),
                *(
                    difference(f"p = {p} less p = 0", values(kind, p, "accuracy"), values(kind, 0.0, "accuracy"))
                    for p in SHARES[1:]
                ),
            ),
            shown="shown" if holds else "opposite" if worse else "not shown",
        )
        less = compare(values(kind, 0.9, "macs"), values(kind, 0.0, "macs"))
        yield Claim(
            text=f"{kind}: a sparse trainer is left with fewer multiply-adds than without pruning",
            rows=tuple(row(f"of a dense step, p = {p}", values(kind, p, "macs")) for p in SHARES),
            shown=sign(less, expected=-1),
            note="first order: each stage takes its dense multiply-adds times the densities of what it reads or masks",
        )
    kind = "conv-bn-relu"
    beyond = {
        p: {seed: v - (1 - normal_zero_share(p)) for seed, v in values(kind, p, "after").items()} for p in SHARES[1:]
    }
    yield Claim(
        text="real gradients have heavier tails than normal ones: p = 0.9 leaves less than the closed form's 0.46",
        rows=tuple(row(f"density less the closed form, p = {p}", beyond[p]) for p in SHARES[1:]),
        shown=sign(row("", beyond[0.9]), expected=-1),
        note="at dO before batch norm, where gradients are dense before pruning",
    )


def _trial(lab: Lab, kind: str, p: float, seed: int) -> dict[str, float]:
    quick = lab.scale == "quick"
    sizes = (128, 64) if quick else (2000, 1000)
    data = load_data("mnist5k", Request(shape=(1, 28, 28), train_size=sizes[0], test_size=sizes[1]))
    torch.manual_seed(seed)
    module = network(kind, 4 if quick else 12)
    analysed = advisor.analyze(module, torch.zeros(1, 1, 28, 28))

    def methods() -> list[ActivationGradientPruning]:
        return [ActivationGradientPruning(module, place(analysed), p=p, trace_every=1 if quick else 4, seed=seed)]

    recipe = Recipe(epochs=2 if quick else 3, batch=32)
    result = trained(module, data, recipe, seed=seed, methods=methods)
    (content,) = result.outcomes[0].files.values()
    trace = from_lines(content, "the trace")
    return {"accuracy": result.accuracy} | _densities(trace, [layer.macs for layer in analysed.sparsifiable])


def _densities(trace: Trace, macs: list[int]) -> dict[str, float]:
    """Means over the steps once thresholds are predicted: of dO, of pruned gradients, and the multiply-adds left."""
    settled = [step for step in trace.steps if step.step >= int(trace.settings["fifo"])]
    dense = left = 0.0
    for step in settled:
        for number, layer in enumerate(trace.layers):
            inputs, gradient = step.input_density[number] or 0.0, step.output_gradient_density[number] or 0.0
            dense += macs[number] * (2 if layer.reads_input else 3)
            left += macs[number] * (inputs + inputs * gradient)
            if not layer.reads_input:
                left += macs[number] * gradient * (inputs if layer.masked else 1)
    pruned = [n for n, layer in enumerate(trace.layers) if layer.pruned_at != "nowhere"]
    return {
        "dO": fmean(one or 0.0 for step in settled for one in step.output_gradient_density),
        "after": fmean(step.after_density[n] or 0.0 for step in settled for n in pruned),
        "macs": left / dense,
    }
