"""Densities per layer for one density of the whole: uniform, and Erdős–Rényi-kernel (ERK)."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import ArrayLike, NDArray

from advisor.errors import BudgetError

Floats = NDArray[np.float64]


def erk_scores(weight_shapes: Sequence[Sequence[int]]) -> Floats:
    """(L,) the sum of each weight's sizes: c_in/groups + c_out + kernel (Evci et al. 2020, RigL, section 3)."""
    return np.array([sum(shape) for shape in weight_shapes], dtype=np.float64)


def er_scores(weight_shapes: Sequence[Sequence[int]]) -> Floats:
    """(L,) (c_in/groups + c_out) times the kernel's taps: ER knows channels alone (Mocanu et al. 2018, SET)."""
    return np.array([sum(shape[:2]) * prod(shape[2:]) for shape in weight_shapes], dtype=np.float64)


def scaled(scores: ArrayLike, weights: ArrayLike, scale: float, dense: Sequence[int] = ()) -> Floats:
    """(L,) densities min(1, scale · score / weights); the layers in `dense` keep everything."""
    densities = np.minimum(1.0, scale * np.asarray(scores, np.float64) / np.asarray(weights, np.float64))
    densities[list(dense)] = 1.0
    return densities


def fill(scores: ArrayLike, weights: ArrayLike, density: float, dense: Sequence[int] = ()) -> Floats:
    """Densities proportional to score / weights, capped at 1, that keep a share `density` of all weights.

    These minimise Σ s_l (−ln d_l) under Σ n_l d_l ≤ density · Σ n_l and d_l ≤ 1: stationarity gives s_l / d_l = λ n_l
    where the cap does not bind. With s the ERK scores this is ERK; with s = n it is uniform.

    Args:
        scores: (L,) positive.
        weights: (L,) positive element counts.
        density: in (0, 1], of the layers that are not in `dense`.
        dense: layers kept whole and left out of the balance, as RigL does with layers of an own density.

    Returns:
        (L,) densities in (0, 1], exact up to rounding in the last place.

    Raises:
        BudgetError: the density lies outside (0, 1].
    """
    if not 0.0 < density <= 1.0:
        raise BudgetError(f"density {density}; expected more than 0 and at most 1")
    s, n = np.asarray(scores, np.float64), np.asarray(weights, np.float64)
    free = np.setdiff1d(np.arange(len(n)), np.asarray(dense, np.int64))
    if not len(free):
        return np.ones(len(n))
    # Layers reach the cap in order of s/n. Cap as many as needed: with c capped, scale = (B − Σ capped n) / Σ free s.
    order = free[np.argsort(-s[free] / n[free], kind="stable")]
    budget = density * n[order].sum()
    capped = np.concatenate(([0.0], np.cumsum(n[order])[:-1]))
    left = np.cumsum(s[order][::-1])[::-1]
    scales = (budget - capped) / left
    first = scales * s[order] / n[order]  # what the first free layer would get; the first value ≤ 1 is the answer
    found = np.flatnonzero(first <= 1.0)
    return scaled(s, n, float(scales[found[0]]) if len(found) else float(np.max(n[free] / s[free])), dense)


def erk(weight_shapes: Sequence[Sequence[int]], density: float, dense: Sequence[int] = ()) -> Floats:
    """(L,) ERK densities: min(1, ε (c_in + c_out + k_h + k_w) / (c_in c_out k_h k_w)) with ε solved exactly."""
    return fill(erk_scores(weight_shapes), [prod(shape) for shape in weight_shapes], density, dense)


def uniform(weight_shapes: Sequence[Sequence[int]], density: float, dense: Sequence[int] = ()) -> Floats:
    """(L,) the same density everywhere but in the layers that stay dense."""
    weights = [prod(shape) for shape in weight_shapes]
    return fill(weights, weights, density, dense)
