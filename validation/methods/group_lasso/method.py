"""Sparse group lasso by variable splitting, as a training method and as an option of a validation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from advisor.errors import AdvisorError, PlanError
from validation.methods.group_lasso.export import files_of, narrowed, plan_of
from validation.methods.group_lasso.groups import AUTO, GroupedWeight, grouped_weights, measured
from validation.methods.group_lasso.penalties import Penalty, make_penalty
from validation.methods.method import Method, MethodSettings, Outcome, Run
from validation.methods.registry import register_method

if TYPE_CHECKING:
    from advisor.network import Network
    from advisor.plans.plan import Plan
    from validation.methods.filters.removal import Removed


class SparseGroupLasso(Method):
    """Drives groups and single weights to zero (Bui, Park, Zhang, Qi and Xin 2021, algorithm 1).

    The loss becomes

        task + (1/N) sum_l [ lambda sum_g sqrt(|g|) ||w_g||_2 + beta/2 ||W_l - V_l||_F^2 ],

    and V carries the penalty r of single weights, lambda r(V): after each step of the optimiser V = prox(W) with scale
    lambda / beta. Every `every` epochs beta grows, for all layers, which lowers the threshold: for l0 it is
    sqrt(2 lambda / beta). V begins as prox(W); the published code begins with noise, which the first steps then follow.

    What is deployed is W on the support of V: `finish` sets the other weights to zero for good.

    Args:
        weights: see `grouped_weights`.
        penalty: r; see `make_penalty`.
        strength: lambda, of the groups and of r alike.
        beta: weight of the splitting, above 0.
        growth: factor of beta, 1 or more.
        every: epochs between growths.
        train_size: N, training images: the paper's lambda and beta are per image.
        network: with `module`, `finish` narrows it and gives a plan: the analysis of the dense network.
        module: that dense network, of which `weights` are; it becomes the narrower one.

    Attributes:
        copies: V by layer.
        removed: after `finish`, what left the network (None without `network`, or where nothing is sure to be dead).
    """

    def __init__(
        self,
        weights: Sequence[GroupedWeight],
        penalty: Penalty,
        *,
        strength: float,
        beta: float,
        growth: float = 1.25,
        every: int = 40,
        train_size: int,
        network: Network | None = None,
        module: nn.Module | None = None,
    ) -> None:
        self.weights, self._penalty = tuple(weights), penalty
        self.strength, self.beta, self.growth, self.every = strength, beta, growth, every
        self.train_size = train_size
        self.epoch = 0
        self.removed: Removed | None = None
        self._network, self._module = network, module
        self.copies: dict[str, Tensor] = {}
        self.split()

    @torch.no_grad()
    def split(self) -> None:
        """The V-step: the V that minimises the objective for these W."""
        for one in self.weights:
            self.copies[one.name] = self._penalty.prox(one.parameter.detach(), self.strength / self.beta)

    def penalty(self) -> Tensor:
        total = torch.zeros((), device=self.weights[0].parameter.device)
        for one in self.weights:
            distance = (one.parameter - self.copies[one.name]).square().sum()
            total = total + self.strength * one.lasso(one.parameter) + self.beta / 2 * distance
        return total / self.train_size

    @torch.no_grad()
    def objective(self) -> float:
        """All of the loss but the task's, r included: what a V-step never raises, and a W-step lowers with V fixed."""
        terms = [self._penalty.value(self.copies[one.name], self.strength / self.beta) for one in self.weights]
        return float(self.penalty()) + self.beta * float(torch.stack(terms).sum()) / self.train_size

    def after_step(self) -> None:
        self.split()

    def after_epoch(self) -> dict[str, float]:
        self.epoch += 1
        if self.epoch % self.every == 0:
            self.beta *= self.growth
            self.split()
        kept = sum(int(v.count_nonzero()) for v in self.copies.values())
        alive = sum(int(one.norms(self.copies[one.name]).count_nonzero()) for one in self.weights)
        return {
            "beta": self.beta,
            "split_density": kept / sum(v.numel() for v in self.copies.values()),
            "split_groups": float(alive),
        }

    def finish(self) -> Outcome:
        before = measured(self.weights)
        with torch.no_grad():
            for one in self.weights:
                one.parameter.masked_fill_(self.copies[one.name] == 0, 0)
        after = measured(self.weights)
        numbers = {
            "weight_density_trained": before.density,
            "weight_density": after.density,
            "groups": float(after.groups),
            "alive_groups": float(after.alive),
            "filters": float(after.filters),
            "alive_filters": float(after.alive_filters),
        }
        note = (
            f"{self._penalty.name} group lasso: {after.alive:,} of {after.groups:,} groups and "
            f"{after.density:.2%} of their weights are left; zero is what V has at zero (before: {before.density:.2%} "
            "of |w| at least 1e-5)"
        )
        if self._network is None or self._module is None:
            return Outcome(numbers=numbers, notes=(note,))
        self.removed, why = narrowed(self._network, self._module)
        plan = plan_of(self._network, self._module, self.removed)
        if self.removed is None:
            return Outcome(plan=plan, numbers=numbers, notes=(note, why))
        self._module.__dict__.update(self.removed.module.__dict__)  # whoever holds the module sees the narrower one
        return Outcome(plan=plan, numbers=numbers, files=files_of(self.removed), notes=(note, *self.removed.notes))

    def state_dict(self) -> dict[str, Any]:
        return {"beta": self.beta, "epoch": self.epoch, "copies": dict(self.copies)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.beta, self.epoch = float(state["beta"]), int(state["epoch"])
        copies: Mapping[str, Tensor] = state["copies"]
        for one in self.weights:
            self.copies[one.name] = torch.empty_like(one.parameter.detach()).copy_(copies[one.name])


@torch.no_grad()
def balanced_beta(weights: Sequence[GroupedWeight], strength: float) -> float:
    """The beta at which the threshold of l0 is the median size of those weights that are not zero.

    Raises:
        AdvisorError: all of them are zero.
    """
    sizes = torch.cat([one.parameter.abs().flatten() for one in weights])
    sizes = sizes[sizes > 0]
    if not len(sizes):
        raise AdvisorError("group lasso: all weights of its layers are zero; give beta, or weights that are not zero")
    return 2 * strength / float(sizes.median()) ** 2


@register_method("group-lasso", target="dense")
@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLassoSettings(MethodSettings):
    """Sparse group lasso: filters and weights go to zero in training, and leave the network after it.

    Attributes:
        penalty: of single weights: l0, l1, transformed-l1, scad or l1-l2.
        strength: lambda, divided by the number of training images.
        beta: weight of the splitting; for l0 weights below sqrt(2 strength / beta) go. 0: so that this threshold is the
            median size of the first weights, which suits short trainings of any network. The published code has
            strength 0.1 and beta 2.5 for LeNet-5 and the 4-layer CNN over 200 epochs of 60 000 images, 0.001 and 0.04
            for wide residual networks.
        growth: factor of beta every `every` epochs; 0 for `every` is a fifth of the training, as LeNet-5's 40 of 200.
        shape: of transformed-l1 (a), scad and l1-l2 (alpha); 0: the usual one.
        layers: patterns of layer names joined by "|".
    """

    penalty: str = "l0"
    strength: float = 0.02
    beta: float = 0.0
    growth: float = 1.25
    every: int = 0
    shape: float = 0.0
    layers: str = AUTO

    def __post_init__(self) -> None:
        make_penalty(self.penalty, self.shape or None)
        for key, least in (("strength", 0.0), ("beta", 0.0), ("growth", 1.0), ("every", 0)):
            value, strict = getattr(self, key), key == "strength"
            if value < least or (strict and value == least):
                expected = f"above {least:g}" if strict else f"{least:g} or more"
                raise AdvisorError(f"--method {self.name}: got {key}={value:g}, expected {expected}")

    def module(self, dense: nn.Module, plan: Plan | None, *, rescale: bool) -> None:
        if plan is not None:
            raise PlanError(
                f"--method {self.name}@plan: group lasso finds its own plan in the dense network; "
                f"write {self.name}@dense"
            )

    def attach(self, run: Run) -> SparseGroupLasso:
        weights = grouped_weights(run.module, self.layers)
        return SparseGroupLasso(
            weights,
            make_penalty(self.penalty, self.shape or None),
            strength=self.strength,
            beta=self.beta or balanced_beta(weights, self.strength),
            growth=self.growth,
            every=self.every or math.ceil(run.epochs / 5),
            train_size=run.train_size,
            network=run.network,
            module=run.module,
        )
