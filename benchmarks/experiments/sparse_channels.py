"""Random sparse connections against fewer channels, at equal parameters and at equal multiply-adds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import cache, partial
from statistics import fmean
from typing import TYPE_CHECKING

from torch import nn

from advisor.planning.baselines import baselines
from advisor.planning.plain import random_connections
from experiments.common import Claim, Lab, Row, compare, difference, experiment, row, sign
from experiments.small import analysed, small, train
from validation.contestants import rescaled

if TYPE_CHECKING:
    from advisor.plans.plan import Plan

DENSITIES = (0.25, 0.125, 0.0625, 0.03125)
EQUAL = {"params": "parameters", "macs": "multiply-adds"}


@cache
def sparse_plan(scale: str, density: float, seed: int) -> Plan:
    """Sparse channels at a density; every seed draws its own."""
    return random_connections(analysed(scale), density, seed=seed)


@cache
def narrower_plan(scale: str, density: float, key: str) -> Plan:
    """The largest narrower network of no more parameters (multiply-adds) than sparse channels leave."""
    sparse = sparse_plan(scale, density, 0)
    costs = {**sparse.costs, key: dataclasses.replace(sparse.costs[key], budget=sparse.costs[key].plan)}
    return baselines(analysed(scale), dataclasses.replace(sparse, costs=costs), kinds=("width",))["width"]


@experiment("sparse-channels", paper="Changpinyo et al. 2017")
def run(lab: Lab) -> Iterator[Claim]:
    found: dict[tuple[str, float], dict[int, float]] = {}
    for seed in lab.seeds:
        numbers = lab.trial(f"dense-seed{seed}", partial(_trial, lab, None, seed))
        found.setdefault(("dense", 1.0), {})[seed] = numbers["accuracy"]
        for density in DENSITIES:
            for way in ("sparse", *EQUAL):
                numbers = lab.trial(f"{way}-d{density}-seed{seed}", partial(_thinned, lab, way, density, seed))
                found.setdefault((way, density), {})[seed] = numbers["accuracy"]
    for key, word in EQUAL.items():
        rows: list[Row] = [row("dense", found["dense", 1.0], "accuracy")]
        mean = {seed: fmean(found["sparse", d][seed] - found[key, d][seed] for d in DENSITIES) for seed in lab.seeds}
        for density in DENSITIES:
            sparse = sparse_plan(lab.scale, density, 0).costs[key].plan
            narrow = narrower_plan(lab.scale, density, key).costs[key].plan
            rows += [
                row(
                    f"density {density:g}: sparse channels, {sparse:,.0f} {word}",
                    found["sparse", density],
                    "accuracy",
                ),
                row(f"a narrower network, {narrow:,.0f} {word}", found[key, density], "accuracy"),
                difference("sparse less narrower", found["sparse", density], found[key, density], "accuracy"),
            ]
        zero = dict.fromkeys(mean, 0.0)
        rows.append(difference("sparse less narrower, mean of the four budgets", mean, zero, "accuracy"))
        yield Claim(
            text=f"at equal {word} sparse channels classify better than fewer channels, on average over four budgets",
            rows=tuple(rows),
            shown=sign(compare(mean, zero)),
            note=f"dense: {analysed(lab.scale).params:,} parameters, {analysed(lab.scale).macs:,} multiply-adds; the "
            "paper finds the two equal above a density of 0.1, and MNIST's multiply-adds in favour of narrow networks",
        )


def _thinned(lab: Lab, way: str, density: float, seed: int) -> dict[str, float]:
    plan = sparse_plan(lab.scale, density, seed) if way == "sparse" else narrower_plan(lab.scale, density, way)
    return _trial(lab, plan, seed)


def _trial(lab: Lab, plan: Plan | None, seed: int) -> dict[str, float]:
    module: nn.Module = small(lab.scale, seed)
    if plan is not None:
        module = plan.apply(module)
        rescaled(module, plan)
    return train(module, lab.scale, seed)
