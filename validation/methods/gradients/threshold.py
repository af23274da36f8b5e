"""Thresholds of stochastic gradient pruning: from a target share of small gradients, and what pruning then does.

Activation gradients of a layer are taken as normal with mean 0 (Dai et al. 2020, SparseTrain; Ye et al. 2020, ECCV).
"""

from __future__ import annotations

import math
from collections import deque
from statistics import NormalDist

import torch
from torch import Tensor

from advisor.errors import AdvisorError

# E|g| = sqrt(2/pi) sigma, so sigma is estimated by sqrt(pi/2) mean|g|. The inverse constant, or none, gives thresholds
# that are 1.57 or 1.25 times too small, and fewer gradients than the share p below them.
SIGMA_PER_MEAN = math.sqrt(math.pi / 2)


def check_share(p: float) -> None:
    """Raises AdvisorError unless `p` is in [0, 1)."""
    if not 0 <= p < 1:
        raise AdvisorError(
            f"gradient pruning: got p={p}, expected a share of gradients in [0, 1); 0 prunes nothing, 0.9 is usual"
        )


def quantile(p: float) -> float:
    """t such that a share `p` of a normal's values lies within t standard deviations: Phi^-1((1 + p) / 2)."""
    check_share(p)
    return NormalDist().inv_cdf((1 + p) / 2)


def normal_zero_share(p: float) -> float:
    """Share of zeros that pruning makes of normal gradients: less than `p`, since many small ones become +-tau."""
    t = quantile(p)
    if t == 0:
        return 0.0
    # z = p - E[|g|; |g| < tau] / tau, with E[|g|; |g| < t] = sqrt(2/pi) (1 - exp(-t^2/2)) for sigma = 1
    return p - math.sqrt(2 / math.pi) * -math.expm1(-t * t / 2) / t


def normal_added_variance(p: float) -> float:
    """Variance that pruning adds to normal gradients, in units of their own variance."""
    t = quantile(p)
    # E[tau |g| - g^2; |g| < tau]: a small gradient becomes tau with probability |g| / tau
    absolute = math.sqrt(2 / math.pi) * -math.expm1(-t * t / 2)
    square = p - 2 * t * NormalDist().pdf(t)
    return t * absolute - square


def determined(total: Tensor, count: Tensor, p: float) -> Tensor:
    """The threshold that a batch's gradients ask for: tau = t sqrt(pi/2) mean|g|.

    Args:
        total: sum of |g|, a scalar.
        count: over how many gradients; 0 gives a threshold of 0.
    """
    return quantile(p) * SIGMA_PER_MEAN * total / count.clamp(min=1)


class ThresholdQueue:
    """Predicts a layer's threshold before its gradients have been seen: the mean of the last `length` determined ones.

    Until `length` thresholds are there it predicts nothing. A threshold that is no finite number (an overflow under
    mixed precision) makes the prediction non-finite, which prunes nothing, until it has left the queue.
    """

    def __init__(self, length: int) -> None:
        if length < 1:
            raise AdvisorError(f"gradient pruning: got a queue of {length} thresholds, expected 1 or more")
        self.length = length
        self._thresholds: deque[Tensor] = deque(maxlen=length)

    def predicted(self) -> Tensor | None:
        """The threshold for the next batch, a scalar; None while the queue is filling."""
        if len(self._thresholds) < self.length:
            return None
        return torch.stack(tuple(self._thresholds)).mean()

    def push(self, threshold: Tensor) -> None:
        self._thresholds.append(threshold.detach())

    def clear(self) -> None:
        """Forgets everything, for a learning rate that dropped and gradients of another scale."""
        self._thresholds.clear()

    def state(self) -> Tensor:
        """The thresholds `N`, oldest first, on the CPU."""
        return torch.stack(tuple(self._thresholds)).cpu() if self._thresholds else torch.zeros(0)

    def load(self, state: Tensor, device: torch.device) -> None:
        self.clear()
        self._thresholds.extend(one.to(device) for one in state)
