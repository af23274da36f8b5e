"""RigL: connections move, and those with the largest gradients grow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from advisor.errors import AdvisorError
from validation.methods.method import MethodSettings, Run
from validation.methods.registry import register_method
from validation.methods.sparse.dynamic import Dynamic, check_drop, check_every
from validation.methods.sparse.masks import MaskedWeight, needed
from validation.methods.sparse.modules import masked_module

if TYPE_CHECKING:
    from advisor.plans.plan import Plan


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
