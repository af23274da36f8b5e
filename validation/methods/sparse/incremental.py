"""Incremental training: a network that starts with very few connections and doubles them until the plan is whole."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import nn

from advisor.errors import AdvisorError
from advisor.patterns.base import kept_of, pattern
from advisor.patterns.candidates import end_layers
from advisor.patterns.draw import Bools, keys, layer_seed
from advisor.patterns.option import Option
from advisor.plans.schedules import Schedule, density_at, incremental_schedule
from validation.methods.method import MethodSettings, Outcome, Run
from validation.methods.registry import register_method
from validation.methods.sparse.choice import ranks
from validation.methods.sparse.masks import Masked, MaskedWeight, masked_weights, weight_of
from validation.methods.sparse.modules import masked_module

if TYPE_CHECKING:
    from advisor.network import Network
    from advisor.plans.plan import Plan

New = Literal["zero", "initial"]


class Growth:
    """In which order the units of one layer come to life, and how many of them at a density.

    Units of the final mask come by the documented generator's keys, the smallest first within each quota set
    (`advisor.patterns.draw`). Two densities of one seed are therefore nested, and a drawn plan's mask is one of them.
    """

    def __init__(self, weight: MaskedWeight, seed: int) -> None:
        self._weight, final, sets = weight, weight.units, weight.quota_sets()
        self._members = np.bincount(sets.ravel())
        self._last = np.bincount(sets[final], minlength=len(self._members))
        order = ranks(keys(seed, final.shape), sets)
        self._place = ranks(order + np.where(final, 0, final.size), sets).astype(np.int32)

    def at(self, density: float) -> Bools:
        """max(1, ⌈density · members⌉) units of each quota set, and no more than the final mask has there."""
        sizes, which = np.unique(self._members, return_inverse=True)
        wanted = np.array([kept_of(density, int(size)) for size in sizes], np.int64)[which]
        found: Bools = self._place < np.minimum(wanted, self._last)[self._weight.quota_sets()]
        return found


class Incremental(Masked):
    """Incremental training (Changpinyo, Sandler and Zhmoginov 2017, section 5.3).

    The network begins at `start` of its connections, and every `every` steps their number doubles, each layer stopping
    at its own final mask: 1, 2, 4, ... 64, 100 % for a dense one. What lived goes on living. The paper does not say
    what a new connection begins with: with "initial" it has the value that the module was given (as masks on dense
    tensors do that nobody resets), with "zero" it joins without changing the output. The optimiser's memory of it is
    zero in both cases. Weights are not rescaled as inputs join: the paper's networks have batch norm, without which
    the first signals are small.

    Args:
        weights: with their final masks; see `growing_weights`.
        optimizer: of the weights.
        schedule: (first step, density) as `incremental_schedule` gives.
        seeds: layer → seed of its order.
        new: initial value of new connections.
    """

    def __init__(
        self,
        weights: Sequence[MaskedWeight],
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        *,
        seeds: Mapping[str, int],
        new: New = "initial",
    ) -> None:
        self.schedule, self.new = schedule, new
        self._growth = {one.layer.name: Growth(one, seeds[one.layer.name]) for one in weights}
        self._initial = {one.layer.name: one.parameter.detach().clone() for one in weights} if new == "initial" else {}
        for one in weights:
            one.take(self._growth[one.layer.name].at(density_at(schedule, 0)))
        super().__init__(weights, optimizer)

    def after_step(self) -> None:
        super().after_step()
        density = density_at(self.schedule, self.steps)
        if density > density_at(self.schedule, self.steps - 1):
            for name, one in self.weights.items():
                self._grow(name, one, density)
            if density >= 1:
                self._initial = {}  # everything has come to life

    @torch.no_grad()
    def _grow(self, name: str, one: MaskedWeight, density: float) -> None:
        masked = one.gone.clone()
        self.move(one, self._growth[name].at(density))
        if name in self._initial:
            born = masked & ~one.gone
            one.parameter.copy_(torch.where(born, self._initial[name], one.parameter))

    def after_epoch(self) -> dict[str, float]:
        return {"density": self.density}

    def finish(self) -> Outcome:
        return Outcome(numbers={"density": self.density})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        if density_at(self.schedule, self.steps) >= 1:
            self._initial = {}


def growing_weights(module: nn.Module, network: Network, plan: Plan | None = None) -> list[MaskedWeight]:
    """What grows, with its final masks: the plan's masked layers, and dense ones, which grow by pattern `channel`.

    Dense ends stay whole as in the paper (the image's convolution, the classifier), and so do layers whose outputs read
    one input each.

    Args:
        module: dense, or `masked_module(dense, plan)`.
        network: the dense network, analysed.
    """
    found = masked_weights(module, plan) if plan is not None else []
    held, ends = {id(one.parameter) for one in found}, end_layers(network)
    planned = {one.name: one.thinned[0] for one in plan.layers} if plan is not None else {}
    option, channel = Option(pattern="channel", density=1.0), pattern("channel")
    for layer in network.sparsifiable:
        smaller = planned.get(layer.name, layer)
        if layer.name in ends or layer.weight is None or channel.problem(smaller, option):
            continue
        parameter = weight_of(module, layer.weight)
        if id(parameter) not in held:
            held.add(id(parameter))
            units = np.ones(channel.unit_shape(smaller, option), np.bool_)
            found.append(MaskedWeight(smaller, option, parameter, units))
    return found


@register_method("incremental", target="dense")
@dataclass(frozen=True, slots=True, kw_only=True)
class IncrementalSettings(MethodSettings):
    """Starts with `start` of the connections, doubles them each `every` steps (0: whole after `until` of all steps)."""

    start: float = 0.01
    every: int = 0
    until: float = 0.5
    new: str = "initial"

    def __post_init__(self) -> None:
        for name, fits, expected in (
            ("start", 0 < self.start < 1, "a density in (0, 1)"),
            ("every", self.every >= 0, "steps between doublings, or 0"),
            ("until", 0 < self.until <= 1, "a share of the training in (0, 1]"),
            ("new", self.new in ("zero", "initial"), "zero or initial"),
        ):
            if not fits:
                raise AdvisorError(f"incremental: {name}={getattr(self, name)}; expected {expected}")

    def module(self, dense: nn.Module, plan: Plan | None, *, rescale: bool) -> nn.Module:
        return dense if plan is None else masked_module(dense, plan, rescale=rescale)

    def schedule(self, steps: int) -> Schedule:
        """The ramp in a training of `steps` steps.

        Raises:
            AdvisorError: the training would end before the ramp does.
        """
        doublings = math.ceil(-math.log2(self.start) - 1e-9)
        every = self.every or max(1, math.floor(self.until * steps / doublings))
        if doublings * every >= steps:
            raise AdvisorError(
                f"incremental: from start={self.start:g} the network is whole after {doublings} doublings, at "
                f"step {doublings * every}, but training ends at step {steps}; lower every or train longer"
            )
        return incremental_schedule(self.start, every)

    def attach(self, run: Run) -> Incremental:
        schedule = self.schedule(run.epochs * run.steps_per_epoch)
        weights = growing_weights(run.module, run.network, run.plan)
        seeds = {one.layer.name: layer_seed(run.seed, one.layer.name) for one in weights}
        if run.plan is not None:
            seeds |= {planned.name: planned.seed for planned in run.plan.layers}
        if not weights:
            raise AdvisorError(f"incremental: network {run.network.name!r} has no layer that could grow")
        new: New = "zero" if self.new == "zero" else "initial"
        return Incremental(weights, run.optimizer, schedule, seeds=seeds, new=new)
