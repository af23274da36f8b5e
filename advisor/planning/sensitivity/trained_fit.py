"""Response curves by maximum a posteriori: what layers and patterns cost, learnt from runs of whole plans. Pure NumPy.

Run r of plan p, in setting t (data, epochs, …) with seed s, reached the transformed loss

    y_r = a_ts + c_t · Σ_lp exp(κ + β·x_l + u_l + ρ_p + v_lp) · φ_q(d_lp) + noise,    φ_q(d) = (d^−q − 1)/q

with d_lp the share of layer l that pattern p keeps (1 where the plan does not use it) and φ_0(d) = −ln d. Every curve
is 0 at density 1, falls as the density rises and is convex, whatever the data say: exp(…) > 0 and q ≥ −1. The prior is
an ERK-shaped curve scaled: x_l is the logarithm of the layer's ERK share, β ~ N(1, 1), and layers (u), patterns (ρ) and
their pairs (v) scatter around it, as much as the data's evidence asks for. With few runs everything stays near it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

EXPONENTS = (-0.5, 0.0, 0.5)  # q: of the family of curves
LAYER_SPREADS = (0.25, 0.7, 1.5)  # standard deviation of u
PAIR_SPREADS = (0.05, 0.4)  # of v
PATTERN_SPREAD, SLOPE_SPREAD, SETTING_SPREAD = 1.0, 1.0, 0.5  # of ρ, β and ln c
SCALE_SPREAD = 3.0  # of κ: nearly flat
STEPS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """R runs of plans over L layers and P patterns.

    Attributes:
        shares: (R, L, P) kept share of layer l by pattern p, 1 where the plan keeps everything; in (0, 1].
        loss: (R,) what was measured, in the unit that is to be predicted, finite.
        setting: (R,) which runs trained alike, from 0.
        block: (R,) setting and seed: runs that share what is common luck, from 0.
    """

    shares: Floats
    loss: Floats
    setting: Ints
    block: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """What is believed before the runs.

    Attributes:
        scores: (L,) logarithms of the layers' ERK shares, centred.
        exponent: q of the curves.
        layer_spread: standard deviation of u.
        pair_spread: of v.
    """

    scores: Floats
    exponent: float = 0.0
    layer_spread: float = 0.7
    pair_spread: float = 0.4

    def spreads(self, patterns: int) -> Floats:
        """(θ,) standard deviations of (κ, β, u, ρ, v)."""
        layers = len(self.scores)
        return np.concatenate(
            [
                [SCALE_SPREAD, SLOPE_SPREAD],
                np.full(layers, self.layer_spread),
                np.full(patterns, PATTERN_SPREAD),
                np.full(layers * patterns, self.pair_spread),
            ]
        )

    def gradients(self, shares: Floats) -> Floats:
        """(N, θ) of the losses of plans with kept `shares` (N, L, P) at the prior's mean; θ in units of its spread."""
        count, _, patterns = shares.shape
        terms = (curve(shares, self.exponent) * np.exp(self.scores)[:, None]).reshape(count, -1)
        found: Floats = terms @ _design(self.scores, patterns) * self.spreads(patterns)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """The posterior: its mode, and a normal around it (Laplace's approximation).

    Attributes:
        mean: (θ,) the mode of (κ, β, u, ρ, v, ln c); intercepts are integrated out.
        root: (θ, θ) a square root of the covariance.
        noise: standard deviation of a run around its curve.
        evidence: logarithm of the marginal likelihood, to compare priors.
    """

    prior: Prior
    patterns: int
    mean: Floats
    root: Floats
    noise: float
    evidence: float

    def coefficients(self, theta: Floats | None = None) -> Floats:
        """(L, P) exp(κ + β x + u + ρ + v): loss per unit of φ."""
        return np.exp(
            _design(self.prior.scores, self.patterns) @ (self.mean if theta is None else theta)[: self._size]
        ).reshape(-1, self.patterns)

    @property
    def _size(self) -> int:
        layers = len(self.prior.scores)
        return 2 + layers + self.patterns + layers * self.patterns

    def draws(self, count: int, seed: int = 0) -> Floats:
        """(count, θ) from the posterior."""
        normal = np.random.default_rng(seed).standard_normal((count, len(self.mean)))
        return self.mean + normal @ self.root.T

    def predict(self, shares: Floats, theta: Floats | None = None) -> Floats:
        """(N,) losses above dense of plans with kept `shares` (N, L, P)."""
        found: Floats = np.einsum("nlp,lp->n", curve(shares, self.prior.exponent), self.coefficients(theta))
        return found


def curve(shares: Floats, exponent: float) -> Floats:
    """φ_q: (d^−q − 1)/q, −ln d for q = 0. The same shape as `shares`."""
    logs = -np.log(shares)
    return logs if exponent == 0 else np.expm1(exponent * logs) / exponent


def _design(scores: Floats, patterns: int) -> Floats:
    """(L·P, θ) how the logarithm of each coefficient is made of (κ, β, u, ρ, v)."""
    layers = len(scores)
    rows = layers * patterns
    of_layer = np.repeat(np.eye(layers), patterns, axis=0)
    of_pattern = np.tile(np.eye(patterns), (layers, 1))
    return np.hstack([np.ones((rows, 1)), np.repeat(scores, patterns)[:, None], of_layer, of_pattern, np.eye(rows)])


def fit(runs: Runs, prior: Prior) -> Curves:
    """The posterior for one prior, by Gauss-Newton steps with a safeguard; the noise by its own stationarity.

    Raises:
        ValueError: no runs.
    """
    count, layers, patterns = runs.shares.shape
    if not count:
        raise ValueError("no runs")
    settings = int(runs.setting.max()) + 1
    phi = curve(runs.shares, prior.exponent).reshape(count, layers * patterns)
    design = _design(prior.scores, patterns)
    centre = _centred(runs.block)
    y = centre @ runs.loss
    spreads = np.concatenate([prior.spreads(patterns), np.full(settings, SETTING_SPREAD)])
    size = design.shape[1]
    mean = np.zeros(len(spreads))
    mean[1] = 1.0
    theta = mean.copy()
    theta[0] = mean[0] = _scale(phi, design @ theta[:size], centre, y)
    precision = 1.0 / np.square(spreads)
    freedom = max(count - int(runs.block.max()) - 1, 1)
    variance = max(float(y @ y) / freedom, 1e-12) * 0.25

    def model(theta: Floats) -> tuple[Floats, Floats]:
        weight = np.exp(np.clip(design @ theta[:size], -40.0, 40.0))
        factor = np.exp(theta[size:])[runs.setting]
        terms = phi * weight * factor[:, None]
        total = terms.sum(axis=1)
        by_setting = np.zeros((count, settings))
        by_setting[np.arange(count), runs.setting] = total
        return centre @ total, centre @ np.hstack([terms @ design, by_setting])

    def cost(theta: Floats, variance: float) -> float:
        residual = y - model(theta)[0]
        return 0.5 * float(residual @ residual) / variance + 0.5 * float(precision @ np.square(theta - mean))

    damping = 1e-2
    hessian = np.diag(precision)
    for _ in range(STEPS):
        predicted, jacobian = model(theta)
        residual = y - predicted
        gradient = jacobian.T @ residual / variance - precision * (theta - mean)
        hessian = jacobian.T @ jacobian / variance + np.diag(precision)
        before = cost(theta, variance)
        while damping < 1e8:
            step = np.linalg.solve(hessian + damping * np.diag(np.diag(hessian)), gradient)
            if cost(theta + step, variance) < before:
                break
            damping *= 4.0
        else:
            break
        theta = theta + step
        damping = max(damping / 6.0, 1e-6)
        residual = y - model(theta)[0]
        # MacKay (1992): what the data determine leaves the residual's degrees of freedom
        effective = len(theta) - float(precision @ np.diag(np.linalg.inv(hessian)))
        updated = max(float(residual @ residual) / max(freedom - effective, 1.0), 1e-10)
        settled = abs(math.log(updated / variance)) < 1e-3 and float(np.abs(step).max()) < 1e-3
        variance = updated
        if settled:
            break
    predicted, jacobian = model(theta)
    hessian = jacobian.T @ jacobian / variance + np.diag(precision)
    root = np.linalg.inv(np.linalg.cholesky(hessian)).T
    evidence = (
        -cost(theta, variance)
        - 0.5 * freedom * math.log(2 * math.pi * variance)
        + 0.5 * float(np.log(precision).sum())
        - float(np.log(np.diag(np.linalg.cholesky(hessian))).sum())
    )
    return Curves(prior=prior, patterns=patterns, mean=theta, root=root, noise=math.sqrt(variance), evidence=evidence)


def best_fit(
    runs: Runs,
    prior: Prior,
    *,
    exponents: Sequence[float] = EXPONENTS,
    layer_spreads: Sequence[float] = LAYER_SPREADS,
    pair_spreads: Sequence[float] = PAIR_SPREADS,
) -> Curves:
    """The fit whose prior the runs support best, by evidence (type II maximum likelihood, MacKay 1992)."""
    fits = [
        fit(runs, replace(prior, exponent=q, layer_spread=u, pair_spread=v))
        for q, u, v in product(exponents, layer_spreads, pair_spreads)
    ]
    return max(fits, key=lambda found: found.evidence)


def _centred(block: Ints) -> Floats:
    """(R, R) takes the mean of each block out."""
    same = (block[:, None] == block[None, :]).astype(np.float64)
    found: Floats = np.eye(len(block)) - same / same.sum(axis=1, keepdims=True)
    return found


def _scale(phi: Floats, logs: Floats, centre: Floats, y: Floats) -> float:
    """κ that fits best where everything else is the prior's."""
    x = centre @ (phi @ np.exp(logs))
    slope = float(x @ y) / max(float(x @ x), 1e-300)
    typical = float(np.std(y)) / max(float(np.std(x)), 1e-300) if len(y) > 1 else 1.0
    return math.log(max(slope, 0.1 * typical, 1e-12))
