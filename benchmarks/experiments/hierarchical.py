"""Hierarchical attention beside plain attention at equal depth and width: multiply-adds, time of a step, accuracy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from statistics import median

import torch
from torch import Tensor, nn

from advisor.patterns import hierarchical
from advisor.patterns.hierarchical import AttentionShape
from advisor.runtime.attention import HierarchicalAttention
from advisor.zoo.hat_net import inverted_residual
from advisor.zoo.hierarchical_blocks import Residual
from experiments.common import Claim, Lab, Row, difference, experiment, row, sign
from experiments.trained import trained
from validation.data import Request, load_data
from validation.training.recipe import Recipe

FORMS = {"plain": (1, 1), "hierarchical": (5, 4)}  # window and pooling on 20x20 tokens
SIZE, BATCH = 40, 64
# Side, channels, window and pooling of HAT-Net Small's first three stages at 224; heads of 64.
STAGES = {"stage 1": (56, 64, 8, 8), "stage 2": (28, 128, 7, 4), "stage 3": (14, 320, 7, 2)}


def network(form: str, width: int, depth: int) -> nn.Sequential:
    """Patches of 2x2, blocks of attention and inverted residuals as HAT-Net's, mean, linear: 1 x 40 x 40 → 10."""
    window, pool = FORMS[form]
    blocks: list[nn.Module] = [nn.Conv2d(1, width, 3, 2, 1)]
    for _ in range(depth):
        blocks.append(Residual(HierarchicalAttention(width, heads=width // 16, window=window, pool=pool)))
        blocks.append(Residual(inverted_residual(width, 2, 3)))
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


@experiment("hierarchical", paper="Liu et al. 2021 (HAT-Net)")
def run(lab: Lab) -> Iterator[Claim]:
    yield _arithmetic()
    yield from _stage_times(lab)
    times = {seed: lab.trial(f"step-seed{seed}", partial(_step_times, lab, seed)) for seed in lab.seeds}
    ratio = {seed: ms["hierarchical"] / ms["plain"] for seed, ms in times.items()}
    yield Claim(
        text="at 400 tokens a training step of the whole network takes less time",
        rows=(
            *(row(f"a step, {form}", {seed: ms[form] for seed, ms in times.items()}, "ms") for form in FORMS),
            row("hierarchical / plain", ratio),
        ),
        shown=sign(row("", [one - 1 for one in ratio.values()]), expected=-1),
        note="batch 16, one CPU thread by its own clock, the two in turn",
    )
    found = {
        form: {
            seed: lab.trial(f"{form}-seed{seed}", partial(_trial, lab, form, seed))["accuracy"] for seed in lab.seeds
        }
        for form in FORMS
    }
    gain = difference("hierarchical less plain", found["hierarchical"], found["plain"])
    yield Claim(
        text="at equal depth and width it is more accurate",
        rows=(*(row(f"accuracy, {form}", found[form]) for form in FORMS), gain),
        shown=sign(gain),
        note="hierarchical attention holds 3C² + 7C parameters more in each block",
    )


def _arithmetic() -> Claim:
    """Exact counts of one attention layer with its projections, products included."""
    rows, cheaper = [], []
    for name, (side, channels, window, pool) in STAGES.items():
        shape = AttentionShape(channels=channels, heads=channels // 64, height=side, width=side)
        option = hierarchical.hierarchical(shape, window, pool)
        kept = 4 * shape.tokens * channels**2
        plain, other = shape.plain_macs + kept, hierarchical.macs(shape, option) + kept
        rows += [Row(setting=f"{name}, plain", mean=plain / 1e6, unit="M multiply-adds")]
        rows += [Row(setting=f"{name}, hierarchical", mean=other / 1e6, unit="M multiply-adds")]
        cheaper.append(other < plain)
    return Claim(
        text="hierarchical attention takes fewer multiply-adds in every stage",
        rows=tuple(rows),
        shown="shown" if all(cheaper) else "not shown" if any(cheaper) else "opposite",
        note="counted, not measured; at 196 tokens its projections cost more than fewer pairs of tokens save",
    )


def _stage_times(lab: Lab) -> Iterator[Claim]:
    for name, (side, channels, window, pool) in STAGES.items():
        if lab.scale == "quick" and side > 14:
            continue
        made = partial(_layer_times, lab, side, channels, window, pool)
        times = {seed: lab.trial(f"{name.replace(' ', '')}-seed{seed}", partial(made, seed)) for seed in lab.seeds}
        ratio = {seed: ms["hierarchical"] / ms["plain"] for seed, ms in times.items()}
        yield Claim(
            text=f"the attention layer of {name} takes less time, forward and backward",
            rows=(
                *(row(form, {seed: ms[form] for seed, ms in times.items()}, "ms") for form in FORMS),
                row("hierarchical / plain", ratio),
            ),
            shown=sign(row("", [one - 1 for one in ratio.values()]), expected=-1),
            note=f"{side}x{side} tokens of {channels} channels, one image, one CPU thread by its own clock, in turn",
        )


def _layer_times(lab: Lab, side: int, channels: int, window: int, pool: int, seed: int) -> dict[str, float]:
    torch.manual_seed(seed)
    heads = channels // 64
    modules: dict[str, nn.Module] = {
        "plain": HierarchicalAttention(channels, heads=heads, window=1),
        "hierarchical": HierarchicalAttention(channels, heads=heads, window=window, pool=pool),
    }
    x = torch.randn(1, channels, side, side)
    return _in_turn(modules, x, rounds=3 if lab.scale == "quick" else 8)


def _step_times(lab: Lab, seed: int) -> dict[str, float]:
    """Milliseconds of forward and backward of both networks."""
    torch.manual_seed(seed)
    modules: dict[str, nn.Module] = {form: network(form, *_sizes(lab)) for form in FORMS}
    return _in_turn(modules, torch.randn(16, 1, SIZE, SIZE), rounds=3 if lab.scale == "quick" else 10)


def _in_turn(modules: dict[str, nn.Module], x: Tensor, *, rounds: int) -> dict[str, float]:
    """Medians, the first round left out."""
    times: dict[str, list[float]] = {name: [] for name in modules}
    for _ in range(rounds):
        for name, module in modules.items():
            began = time.thread_time()
            module(x).square().mean().backward()
            times[name].append(time.thread_time() - began)
            module.zero_grad()
    return {name: 1e3 * median(values[1:]) for name, values in times.items()}


def _sizes(lab: Lab) -> tuple[int, int]:
    """Channels and blocks."""
    return (16, 1) if lab.scale == "quick" else (32, 2)


def _trial(lab: Lab, form: str, seed: int) -> dict[str, float]:
    quick = lab.scale == "quick"
    sizes = (128, 64) if quick else (2048, 2000)
    data = load_data("cluttered", Request(shape=(1, SIZE, SIZE), train_size=sizes[0], test_size=sizes[1]))
    torch.manual_seed(seed)
    module = network(form, *_sizes(lab))
    recipe = Recipe(epochs=1 if quick else 4, batch=BATCH, optimizer="adamw", peak_rate=4e-3, weight_decay=0.05)
    return {"accuracy": trained(module, data, recipe, seed=seed, methods=list).accuracy}
