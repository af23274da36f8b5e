"""Incremental training from 1 % of the connections against dense training of as many steps."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from statistics import fmean

from advisor.plans.schedules import density_at
from experiments.common import Claim, Lab, Shown, compare, difference, experiment, row, sign
from experiments.small import run_of, small, steps_of, train
from validation.methods.method import Method
from validation.methods.sparse.incremental import IncrementalSettings
from validation.reporting.statistics import Mean
from validation.training.trainer import Trainer

LOST = 0.01  # of accuracy, that "as well as dense" allows
RAMPS = {
    "whole after half of the steps": IncrementalSettings(until=0.5),
    "whole after nine tenths": IncrementalSettings(until=0.9),
    "whole after half, new connections zero": IncrementalSettings(until=0.5, new="zero"),
}


@experiment("incremental", paper="Changpinyo et al. 2017")
def run(lab: Lab) -> Iterator[Claim]:
    dense: dict[int, float] = {}
    found: dict[str, dict[int, float]] = {name: {} for name in RAMPS}
    shares: dict[str, float] = {}
    for seed in lab.seeds:
        dense[seed] = lab.trial(f"dense-seed{seed}", partial(_dense, lab, seed))["accuracy"]
        for number, (name, settings) in enumerate(RAMPS.items()):
            numbers = lab.trial(f"ramp{number}-seed{seed}", partial(_incremental, lab, settings, seed))
            found[name][seed], shares[name] = numbers["accuracy"], numbers["mean_density"]
    differences = [difference(f"{name}: less dense", found[name], dense, "accuracy") for name in RAMPS]
    half, late, zero = found.values()
    held = compare(half, dense)
    yield Claim(
        text=f"incremental training ends as well as dense training of as many steps (within {LOST:.0%})",
        rows=(
            row("dense from the start", dense, "accuracy"),
            *(row(f"{name}, mean density {shares[name]:.0%}", found[name], "accuracy") for name in RAMPS),
            *differences,
        ),
        shown=within(held),
        note="judged by the ramp that is whole after half of the steps; mean density: of growing layers over all steps",
    )
    yield Claim(
        text="a ramp that leaves little time for the whole network costs accuracy",
        rows=(difference("nine tenths less half", late, half, "accuracy"),),
        shown=sign(compare(late, half), expected=-1),
        note="the paper sees a dip at its fastest doubling alone, T = 10,000 steps",
    )
    yield Claim(
        text="new connections learn more from the seed's initial values than from zero",
        rows=(difference("initial values less zero", half, zero, "accuracy"),),
        shown=sign(compare(half, zero)),
        note="the paper does not say what new connections begin with",
    )


def within(held: Mean) -> Shown:
    """Whether the difference is above the loss that is allowed, by its whole interval."""
    if held.low is not None and held.low > -LOST:
        return "shown"
    return "opposite" if held.high is not None and held.high < -LOST else "not shown"


def _dense(lab: Lab, seed: int) -> dict[str, float]:
    return train(small(lab.scale, seed), lab.scale, seed)


def _incremental(lab: Lab, settings: IncrementalSettings, seed: int) -> dict[str, float]:
    steps = steps_of(lab.scale)
    schedule = settings.schedule(steps)
    mean = fmean(density_at(schedule, step) for step in range(steps))
    numbers = train(small(lab.scale, seed), lab.scale, seed, partial(_methods, lab, settings, seed))
    return numbers | {"mean_density": mean}


def _methods(lab: Lab, settings: IncrementalSettings, seed: int, trainer: Trainer) -> tuple[Method, ...]:
    return (settings.attach(run_of(trainer, lab.scale, seed)),)
