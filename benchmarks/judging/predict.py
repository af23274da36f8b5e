"""Every sensitivity's loss of every plan; that of "trained" without the plan's own runs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from advisor.errors import AdvisorError
from advisor.examples import Given
from advisor.examples.batches import calibration
from advisor.network import Network
from advisor.patterns.option import Option
from advisor.planning.sensitivity import SENSITIVITIES, estimate
from advisor.planning.sensitivity.trained import learn
from advisor.planning.sensitivity.trained_data import Responses
from benchmarks.judging.runs import Trained
from validation.learning.responses import responses_of

EXAMPLES = 256
FOLDS = 9


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Plan → loss, or why there is none; `seconds` for all options of all plans."""

    losses: Mapping[str, float]
    seconds: float = 0.0
    problem: str = ""


def predictions(group: Trained, responses: Responses) -> dict[str, Prediction]:
    """Sensitivity → its losses, for those that suit the case: what asks for trained weights, only where they are."""
    pixels, labels = group.study.data.train.batch(torch.arange(EXAMPLES))
    given = Given(calibration=calibration((pixels, labels)))
    found = {}
    for name, one in sorted(SENSITIVITIES.items()):
        if name == "trained":
            began = time.perf_counter()
            found[name] = Prediction(losses=held_out(group, responses), seconds=time.perf_counter() - began)
        elif one.trained and not group.case.pretrained:
            found[name] = Prediction(losses={}, problem="needs trained weights")
        else:
            found[name] = _predicted(group.network, group.plans, name, given)
    return found


def _predicted(network: Network, plans: Mapping[str, object], name: str, given: Given) -> Prediction:
    """Asks once for all distinct options that the plans use, and adds up."""
    options: dict[str, dict[str, Option]] = {layer.name: {} for layer in network.sparsifiable}
    chosen = {label: {layer.name: layer.option for layer in plan.layers} for label, plan in plans.items()}  # type: ignore[attr-defined]
    for plan in chosen.values():
        for layer, option in plan.items():
            options[layer].setdefault(option.label, option)
    began = time.perf_counter()
    try:
        asked = {layer: tuple(known.values()) for layer, known in options.items()}
        losses = estimate(network, asked, name, given=given).losses
    except AdvisorError as error:
        return Prediction(losses={}, problem=str(error))
    seconds = time.perf_counter() - began
    at = {layer: {label: k for k, label in enumerate(known)} for layer, known in options.items()}
    return Prediction(
        losses={
            label: sum(float(losses[layer][at[layer][option.label]]) for layer, option in plan.items())
            for label, plan in chosen.items()
        },
        seconds=seconds,
    )


def held_out(group: Trained, responses: Responses, *, seed: int = 0) -> dict[str, float]:
    """Plan → the loss that curves predict which were fitted to the other folds' plans, all seeds of a plan together."""
    keys = {label: key for label, key in _keys(group).items() if any(run.plan == key for run in responses.runs)}
    order = np.random.default_rng(seed).permutation(sorted(keys))
    found = {}
    for fold in np.array_split(order, min(FOLDS, len(order))):
        away = {keys[label] for label in fold}
        kept = Responses(
            network=responses.network,
            settings=responses.settings,
            plans={key: plan for key, plan in responses.plans.items() if key not in away},
            runs=tuple(run for run in responses.runs if run.plan not in away),
        )
        learnt = learn(group.network, kept)
        for label in fold:
            options = {layer.name: (layer.option,) for layer in group.plans[label].layers}
            losses = learnt.losses(group.network, options)
            found[str(label)] = float(sum(column[0] for column in losses.values()))
    return found


def _keys(group: Trained) -> dict[str, str]:
    from validation.running.trials import plan_digest

    return {label: plan_digest(plan) for label, plan in group.plans.items()}


def known_responses(group: Trained, seeds: Sequence[int]) -> Responses:
    """All finished runs of a case."""
    runs = [
        result
        for one in group.study.contestants
        for seed in seeds
        if (result := group.result(one.label, seed)) is not None
    ]
    return responses_of(group.network, group.study, runs)
