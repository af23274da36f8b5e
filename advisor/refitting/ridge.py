"""Least squares over the kept weights of one layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

Bools = NDArray[np.bool_]


@dataclass(slots=True)
class Moments:
    """Sums over rows x of inputs and targets y: all that least squares needs. Float64; one group of a layer.

    `gram` Σ x xᵀ (S, S), `cross` Σ x yᵀ (S, O), `square` Σ y² (O,), `inputs` Σ x (S,), `targets` Σ y (O,).
    """

    gram: torch.Tensor
    cross: torch.Tensor
    square: torch.Tensor
    inputs: torch.Tensor
    targets: torch.Tensor
    count: int = 0

    @classmethod
    def empty(cls, inputs: int, outputs: int) -> Moments:
        def zeros(*shape: int) -> torch.Tensor:
            return torch.zeros(shape, dtype=torch.float64)

        return cls(zeros(inputs, inputs), zeros(inputs, outputs), zeros(outputs), zeros(inputs), zeros(outputs))

    def add(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """Rows `x` (P, S) with targets `y` (P, O)."""
        x, y = x.double().cpu(), y.double().cpu()
        self.gram += x.T @ x
        self.cross += x.T @ y
        self.square += y.square().sum(0)
        self.inputs += x.sum(0)
        self.targets += y.sum(0)
        self.count += len(x)

    def centred(self) -> Moments:
        """The same around the means, for a layer whose bias takes them up."""
        n = max(self.count, 1)
        return Moments(
            self.gram - torch.outer(self.inputs, self.inputs) / n,
            self.cross - torch.outer(self.inputs, self.targets) / n,
            self.square - self.targets.square() / n,
            torch.zeros_like(self.inputs),
            torch.zeros_like(self.targets),
            self.count,
        )

    def errors(self, weight: torch.Tensor) -> torch.Tensor:
        """(O,) Σ (W x − y)² of each output, for `weight` (O, S)."""
        explained = (weight @ self.gram * weight).sum(1) - 2 * (weight * self.cross.T).sum(1)
        return (explained + self.square).clamp_min(0.0)


def fit(moments: Moments, mask: Bools, before: torch.Tensor, ridge: float) -> torch.Tensor:
    """Weights (O, S) that minimise Σ |W x − y|² + λ |W − before|² with zeros outside the mask.

    λ is `ridge` times the mean square of an input that is read, so the error of the fit is never above that of
    `before`, and weights that no input tells apart stay as they are.

    Args:
        moments: of the rows.
        mask: (O, S) which weights there are.
        before: (O, S) float64, zero outside the mask.
        ridge: above 0.
    """
    found = torch.zeros_like(before)
    # Outputs that read the same inputs share one factorisation.
    supports, which = np.unique(mask, axis=0, return_inverse=True)
    which = which.reshape(-1)
    for number, support in enumerate(supports):
        places = torch.from_numpy(np.flatnonzero(support))
        outputs = torch.from_numpy(np.flatnonzero(which == number))
        if not len(places):
            continue
        gram = moments.gram[places][:, places].clone()
        scale = float(gram.diagonal().mean())
        if scale <= 0:  # nothing ever arrives there
            found[outputs[:, None], places] = before[outputs[:, None], places]
            continue
        gram.diagonal().add_(ridge * scale)
        wanted = moments.cross[places][:, outputs] + ridge * scale * before[outputs][:, places].T
        factor, failed = torch.linalg.cholesky_ex(gram)
        solved = torch.linalg.solve(gram, wanted) if bool(failed) else torch.cholesky_solve(wanted, factor)
        found[outputs[:, None], places] = solved.T
    return found
