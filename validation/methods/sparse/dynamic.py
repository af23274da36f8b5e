"""Connections that move while a network trains: SET and RigL, in the units of any masked pattern."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from advisor.errors import AdvisorError
from advisor.patterns.base import pattern
from advisor.patterns.draw import keys, layer_seed
from validation.methods.method import MethodSettings, Outcome, Run
from validation.methods.registry import register_method
from validation.methods.sparse.choice import regrown, weakest
from validation.methods.sparse.masks import Masked, MaskedWeight, masked_weights, needed
from validation.methods.sparse.modules import masked_module, with_connections

if TYPE_CHECKING:
    from advisor.plans.plan import Plan


class Dynamic(Masked):
    """Drops the weakest connections of each layer and lets as many others grow.

    A unit (a weight; a channel pair with all its taps; a block) is as strong as the L1 norm of its weights. Each layer
    keeps its number of connections, and so does each quota set of its pattern: an output of `channel` gets back as many
    inputs as it lost, so that the plan stays legal. Rows that the plan's repair emptied stay empty. New weights are
    zero, and the optimiser knows nothing of them.

    Args:
        plan: says where, how many, and which connections come first.
        optimizer: of the module's weights.
        module: made by `masked_module(dense, plan)`.
        drop: share of a layer's live units that moves at an update.
    """

    def __init__(self, module: nn.Module, plan: Plan, optimizer: torch.optim.Optimizer, *, drop: float) -> None:
        check_drop(type(self).__name__, drop)
        super().__init__(masked_weights(module, plan), optimizer)
        self.plan, self.drop = plan, drop
        self.updates = self.moved = 0
        self._first = {name: one.units for name, one in self.weights.items()}
        self._sets = {name: pattern(one.option.pattern).quota_sets(one.layer, one.option) for name, one in self._items}

    @property
    def _items(self) -> Iterable[tuple[str, MaskedWeight]]:
        return self.weights.items()

    @abstractmethod
    def order(self, one: MaskedWeight) -> NDArray[np.generic]:
        """Which units grow first, those with the smallest values, in the pattern's shape."""

    def update(self, share: float) -> int:
        """Moves `share` of each layer's live units. Returns how many units live now that did not before."""
        moved = 0
        for name, one in self._items:
            dropped = weakest(one.norms(one.parameter), one.units, share)
            grown = regrown(one.units, dropped, self.order(one), self._sets[name])
            moved += int(self.move(one, grown).sum())
        self.updates += 1
        self.moved += moved
        return moved

    def after_epoch(self) -> dict[str, float]:
        return {"moved_connections": float(self.moved)}

    def finish(self) -> Outcome:
        units = {name: one.units for name, one in self._items}
        new = sum(int((found & ~self._first[name]).sum()) for name, found in units.items())
        live = sum(int(found.sum()) for found in units.values())
        note = f"{new:,} of {live:,} connections are others than the plan began with ({self.updates} updates)"
        numbers = {"mask_updates": float(self.updates), "new_connections": float(new)}
        return Outcome(plan=with_connections(self.plan, units, note=note), numbers=numbers, notes=(note,))

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"updates": self.updates, "moved": self.moved}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.updates, self.moved = int(state["updates"]), int(state["moved"])


class SET(Dynamic):
    """Sparse evolutionary training (Mocanu et al. 2018): connections regrow at random.

    The published code drops the share from the smallest positive and from the largest negative weights; here the
    smallest magnitudes go, whatever their sign, since units of several weights have none. Updates come after a step;
    none comes after the last one, which would leave untrained connections behind.

    Args:
        every: steps between updates.
        steps: of the whole training.
        seed: of the random growth.
    """

    def __init__(
        self,
        module: nn.Module,
        plan: Plan,
        optimizer: torch.optim.Optimizer,
        *,
        drop: float = 0.3,
        every: int,
        steps: int,
        seed: int = 0,
    ) -> None:
        check_every("SET", every)
        super().__init__(module, plan, optimizer, drop=drop)
        self.every, self.total, self.seed = every, steps, seed

    def order(self, one: MaskedWeight) -> NDArray[np.generic]:
        drawn = keys(layer_seed(self.seed, f"{one.layer.name} update {self.updates}"), one.units.shape)
        return drawn >> np.uint64(1)  # below the largest number

    def after_step(self) -> None:
        super().after_step()
        if self.steps % self.every == 0 and self.steps < self.total:
            self.update(self.drop)


class RigL(Dynamic):
    """Rigged lottery (Evci et al. 2020): the connections regrow whose gradients are largest.

    At step t the share drop/2 · (1 + cos(π t / end)) moves, `end` being the step from which masks stay; every `every`
    steps. The gradients are those of the dense weights at that step's batch, before the optimiser steps; new weights
    take part in that very step, which the published code leaves out instead. Where gradients are not finite (float16
    that overflowed) the update waits for the next ones that are.

    Args:
        every: steps between updates.
        end: step from which masks stay as they are.
        anneal: False: the share stays `drop`, as the published code has it where nothing else is asked.
    """

    def __init__(
        self,
        module: nn.Module,
        plan: Plan,
        optimizer: torch.optim.Optimizer,
        *,
        drop: float = 0.3,
        every: int = 100,
        end: int,
        anneal: bool = True,
    ) -> None:
        check_every("RigL", every, end)
        super().__init__(module, plan, optimizer, drop=drop)
        self.every, self.end, self.anneal = every, end, anneal
        self._due = False  # an update that gradients without numbers put off

    def share(self, step: int) -> float:
        """What share of the live units moves at a step: a half cosine from `drop` down to none."""
        return self.drop / 2 * (1 + math.cos(math.pi * step / self.end)) if self.anneal else self.drop

    def order(self, one: MaskedWeight) -> NDArray[np.generic]:
        gradient = one.parameter.grad
        return -one.norms(gradient if gradient is not None else torch.zeros_like(one.parameter))

    def after_backward(self) -> None:
        self._due |= 0 < self.steps < self.end and self.steps % self.every == 0
        if self._due and self.steps < self.end and self._finite():
            self.update(self.share(self.steps))
            self._due = False
        super().after_backward()

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"due": self._due}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._due = bool(state["due"])

    def _finite(self) -> bool:
        """Whether the gradients say anything: float16 overflows now and then, and the step is left out."""
        gradients = [one.parameter.grad for one in self.weights.values() if one.parameter.grad is not None]
        return all(bool(gradient.isfinite().all()) for gradient in gradients)


def check_drop(name: str, drop: float) -> None:
    """Raises AdvisorError for a share that is none."""
    if not 0 < drop < 1:
        raise AdvisorError(f"{name}: drop={drop:g}; expected a share of the connections in (0, 1), 0.3 as published")


def check_every(name: str, every: int, end: int | None = None) -> None:
    """Raises AdvisorError where updates have no distance, or none comes before step `end`."""
    if every < 1:
        raise AdvisorError(f"{name}: every={every}; expected 1 or more steps between updates")
    if end is not None and every >= end:
        raise AdvisorError(
            f"{name}: no connection would ever move: updates come every {every} steps, the last possible one before "
            f"step {end}; set every below {end}, or train for more epochs"
        )


@register_method("set", target="plan")
@dataclass(frozen=True, slots=True, kw_only=True)
class SETSettings(MethodSettings):
    """Connections move: the weakest go, others grow at random (Mocanu et al. 2018). every=0 is once per epoch."""

    drop: float = 0.3
    every: int = 0

    def __post_init__(self) -> None:
        check_drop("set", self.drop)
        check_every("set", self.every or 1)

    def module(self, dense: nn.Module, plan: Plan | None, *, rescale: bool) -> nn.Module:
        return masked_module(dense, needed(plan, self.name), rescale=rescale)

    def attach(self, run: Run) -> SET:
        every, total = self.every or run.steps_per_epoch, run.epochs * run.steps_per_epoch
        check_every("set", every, total)
        plan = needed(run.plan, self.name)
        return SET(run.module, plan, run.optimizer, drop=self.drop, every=every, steps=total, seed=run.seed)


@register_method("rigl", target="plan")
@dataclass(frozen=True, slots=True, kw_only=True)
class RigLSettings(MethodSettings):
    """Connections move: the weakest go, the steepest grow (Evci et al. 2020), up to `until` of all steps."""

    drop: float = 0.3
    every: int = 100
    until: float = 0.75
    anneal: bool = True

    def __post_init__(self) -> None:
        check_drop("rigl", self.drop)
        check_every("rigl", self.every)
        if not 0 < self.until <= 1:
            raise AdvisorError(f"rigl: until={self.until:g}; expected a share of the training in (0, 1]")

    def module(self, dense: nn.Module, plan: Plan | None, *, rescale: bool) -> nn.Module:
        return masked_module(dense, needed(plan, self.name), rescale=rescale)

    def attach(self, run: Run) -> RigL:
        end = math.floor(self.until * run.epochs * run.steps_per_epoch)
        check_every("rigl", self.every, end)
        plan = needed(run.plan, self.name)
        return RigL(run.module, plan, run.optimizer, drop=self.drop, every=self.every, end=end, anneal=self.anneal)
