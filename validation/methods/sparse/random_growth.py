"""SET: connections move, and others grow at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from advisor.patterns.draw import keys, layer_seed
from validation.methods.method import MethodSettings, Run
from validation.methods.registry import register_method
from validation.methods.sparse.dynamic import Dynamic, check_drop, check_every
from validation.methods.sparse.masks import MaskedWeight, needed
from validation.methods.sparse.modules import masked_module

if TYPE_CHECKING:
    from advisor.plans.plan import Plan


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
