"""Connections that move while a network trains: what SET and RigL share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from advisor.errors import AdvisorError
from validation.methods.method import Outcome
from validation.methods.sparse.choice import regrown, weakest
from validation.methods.sparse.masks import Masked, MaskedWeight, masked_weights
from validation.methods.sparse.modules import with_connections

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

    def order(self, one: MaskedWeight) -> NDArray[np.generic]:
        """Which units grow first, those with the smallest values, in the pattern's shape."""
        raise NotImplementedError

    def update(self, share: float) -> int:
        """Moves `share` of each layer's live units. Returns how many units live now that did not before."""
        moved = 0
        for one in self.weights.values():
            dropped = weakest(one.norms(one.parameter), one.units, share)
            grown = regrown(one.units, dropped, self.order(one), one.quota_sets())
            moved += int(self.move(one, grown).sum())
        self.updates += 1
        self.moved += moved
        return moved

    def after_epoch(self) -> dict[str, float]:
        return {"moved_connections": float(self.moved)}

    def finish(self) -> Outcome:
        units = {name: one.units for name, one in self.weights.items()}
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
