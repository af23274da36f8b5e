"""Connections that move in training against those that the seed drew, at one density."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from experiments.common import Claim, Lab, difference, experiment, row, sign
from experiments.small import run_of, small, train
from experiments.sparse_channels import sparse_plan
from validation.methods.method import Method, MethodSettings
from validation.methods.sparse import masked_module
from validation.methods.sparse.gradient_growth import RigLSettings
from validation.methods.sparse.masks import MaskedSettings
from validation.methods.sparse.random_growth import SETSettings
from validation.training.trainer import Trainer

DENSITY = 1 / 32
WAYS = ("fixed", "SET", "RigL")


def settings_of(way: str, scale: str) -> MethodSettings:
    """As published: SET moves connections after every epoch, RigL more often and less and less."""
    every = 10 if scale == "full" else 2
    return {"fixed": MaskedSettings(), "SET": SETSettings(), "RigL": RigLSettings(every=every)}[way]


@experiment("moving-connections", paper="Mocanu et al. 2018, Evci et al. 2020")
def run(lab: Lab) -> Iterator[Claim]:
    found: dict[str, dict[int, float]] = {name: {} for name in WAYS}
    for seed in lab.seeds:
        for name in WAYS:
            numbers = lab.trial(f"{name}-seed{seed}", partial(_trial, lab, settings_of(name, lab.scale), seed))
            found[name][seed] = numbers["accuracy"]
    for name, grow in (("SET", "at random"), ("RigL", "where gradients are largest")):
        moved = difference(f"{name} less fixed", found[name], found["fixed"], "accuracy")
        yield Claim(
            text=f"connections that move and regrow {grow} ({name}) end better than those that the seed drew",
            rows=(*(row(way, found[way], "accuracy") for way in ("fixed", name)), moved),
            shown=sign(moved),
            note=f"channel pairs at density {DENSITY:g}; three tenths move, after every epoch (SET), or every ten "
            "steps and less and less until three quarters of the training (RigL)",
        )


def _trial(lab: Lab, settings: MethodSettings, seed: int) -> dict[str, float]:
    plan = sparse_plan(lab.scale, DENSITY, seed)
    module = masked_module(small(lab.scale, seed), plan, rescale=True)

    def methods(trainer: Trainer) -> tuple[Method, ...]:
        return (settings.attach(run_of(trainer, lab.scale, seed, plan)),)

    return train(module, lab.scale, seed, methods)
