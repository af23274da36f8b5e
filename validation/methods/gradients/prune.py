"""Stochastic pruning of activation gradients: small ones become zero or the threshold, and their mean stays."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from validation.methods.gradients.threshold import ThresholdQueue, check_share, determined


def stochastic_prune(gradient: Tensor, threshold: Tensor | float, generator: torch.Generator | None = None) -> Tensor:
    """Keeps |g| >= tau; of the others, sgn(g) tau with probability |g|/tau, else 0, so that E[g'] = g.

    (Dai et al. 2020, SparseTrain.) NaN and infinite gradients pass untouched, and so do all under a threshold that is
    not finite.

    Args:
        gradient: any shape and floating type.
        threshold: tau, a scalar of at least 0.
        generator: on the gradient's device; None draws from torch's global one.
    """
    working = gradient.to(torch.promote_types(gradient.dtype, torch.float32))  # half precision is too coarse for draws
    tau = torch.as_tensor(threshold, dtype=working.dtype, device=working.device)
    tau = torch.where(torch.isfinite(tau), tau, torch.zeros_like(tau))
    size = working.abs()
    draws = torch.empty_like(working).uniform_(generator=generator)
    small = torch.where(size > tau * draws, working.sign() * tau, torch.zeros_like(tau))
    return torch.where(size < tau, small, working).to(gradient.dtype)


class GradientPruner:
    """Prunes the gradients that pass one place of a network, with a threshold predicted from earlier steps.

    Call it on each gradient of a step (several, where a layer runs more than once), then `end_step()`. sigma is
    estimated over all gradients of the step: the whole mini-batch.

    Args:
        p: share of gradients below the threshold, were they normal; in [0, 1), 0 prunes nothing.
        fifo: how many determined thresholds are averaged into the predicted one; nothing is pruned until so many are
            there. 0: no prediction, each gradient is pruned by its own threshold, for which it is read twice.
        include_zeros: whether exact zeros (behind a ReLU) count in the mean; they lower the threshold.
        seed: of the draws; no global generator is used.

    Attributes:
        threshold: the scalar that the last call pruned with; None where it pruned nothing.
        counts: gradients that were nonzero before, nonzero after, and all, `3`, summed over the step; None unless
            `counting`.
    """

    def __init__(self, p: float, *, fifo: int = 4, include_zeros: bool = True, seed: int = 0) -> None:
        check_share(p)
        self.p, self.include_zeros, self.seed = p, include_zeros, seed
        self.queue = ThresholdQueue(fifo) if fifo else None
        self.counting = False
        self.counts: Tensor | None = None
        self.threshold: Tensor | None = None
        self._sums: Tensor | None = None  # of |g|, and of how many
        self._generator: torch.Generator | None = None
        self._draws: Tensor | None = None  # a loaded generator's state, until the device is known

    def __call__(self, gradient: Tensor) -> Tensor:
        sums = self._observe(gradient)
        self.threshold = determined(sums[0], sums[1], self.p) if self.queue is None else self.queue.predicted()
        pruned = gradient
        if self.threshold is not None and self.p:
            pruned = stochastic_prune(gradient, self.threshold, self._random(gradient.device))
        if self.counting:
            found = [torch.count_nonzero(gradient), torch.count_nonzero(pruned)]
            counted = torch.stack([*found, torch.full_like(found[0], gradient.numel())])
            self.counts = counted if self.counts is None else self.counts + counted
        return pruned

    def end_step(self) -> None:
        """The step's gradients have all passed: their threshold enters the queue, and a new step begins."""
        if self._sums is not None and self.queue is not None:
            self.queue.push(determined(self._sums[0], self._sums[1], self.p))
        self._sums = self.counts = self.threshold = None

    def _observe(self, gradient: Tensor) -> Tensor:
        dtype = torch.promote_types(gradient.dtype, torch.float32)
        total = gradient.abs().sum(dtype=dtype)
        count = torch.full_like(total, gradient.numel())
        if not self.include_zeros:
            count = torch.count_nonzero(gradient).to(dtype)
        sums = torch.stack([total, count])
        self._sums = sums if self._sums is None else self._sums + sums
        return sums

    def _random(self, device: torch.device) -> torch.Generator:
        if self._generator is None or self._generator.device != device:
            self._generator = torch.Generator(device).manual_seed(self.seed)
            if self._draws is not None:
                self._generator.set_state(self._draws.cpu())
                self._draws = None
        return self._generator

    def state_dict(self) -> dict[str, Any]:
        """Thresholds and the generator, between two steps."""
        draws = self._draws if self._generator is None else self._generator.get_state()
        return {"thresholds": None if self.queue is None else self.queue.state(), "draws": draws}

    def load_state_dict(self, state: dict[str, Any], device: torch.device | str = "cpu") -> None:
        """Takes back a state; `device` is where the gradients are."""
        if self.queue is not None and state["thresholds"] is not None:
            self.queue.load(state["thresholds"], torch.device(device))
        self._generator, self._draws = None, state["draws"]


class _PruneGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, pruner: GradientPruner) -> Tensor:
        ctx.pruner = pruner
        # The same memory, but no view in autograd's books: what follows may work in place (nn.ReLU(inplace=True)).
        return tensor.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.pruner(gradients[0]), None


def prune_gradient(tensor: Tensor, pruner: GradientPruner) -> Tensor:
    """The tensor as it is; on the way back its gradient passes `pruner`."""
    pruned: Tensor = _PruneGradient.apply(tensor, pruner)
    return pruned
