"""Response curves: what layers and patterns cost, as learnt from runs of whole plans. Pure NumPy.

Run r of plan p, in setting t (data, epochs, …) with seed s, reached the loss

    y_r = a_ts + c_t · Σ_lp exp(κ + β·x_l + u_l + ρ_p + v_lp) · φ_q(d_lp) + noise,    φ_q(d) = (d^−q − 1)/q

with d_lp the share of layer l that pattern p keeps (1 where the plan does not use it) and φ_0(d) = −ln d. Every curve
is 0 at density 1, falls as the density rises and is convex, whatever the data say: exp(…) > 0 and q ≥ −1. The prior is
an ERK-shaped curve scaled: x_l is the logarithm of the layer's ERK share, β ~ N(1, 1), and layers (u), patterns (ρ) and
their pairs (v) scatter around it, as much as the data's evidence asks for. With few runs everything stays near it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PATTERN_SPREAD, SLOPE_SPREAD, SETTING_SPREAD = 0.5, 1.0, 0.5  # standard deviations of ρ, β and ln c
SCALE_SPREAD = 3.0  # of κ: nearly flat
LARGEST = 40.0  # of a logarithm, so that no step overflows


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
        terms = curve(shares, self.exponent) * np.exp(self.scores)[:, None]
        found: Floats = by_theta(terms, self.scores) * self.spreads(shares.shape[2])
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """The posterior: its mode, and a normal around it (Laplace's approximation).

    Attributes:
        mean: (θ,) the mode of (κ, β, u, ρ, v, ln c); intercepts are integrated out.
        spreads: (θ,) the prior's standard deviations.
        gradient: (R, θ) of the runs' predictions at the mode, in units of the noise.
        noise: standard deviation of a run around its curve.
        evidence: logarithm of the marginal likelihood, to compare priors.
    """

    prior: Prior
    patterns: int
    mean: Floats
    spreads: Floats
    gradient: Floats
    noise: float
    evidence: float

    def coefficients(self, theta: Floats | None = None) -> Floats:
        """(L, P) exp(κ + β x + u + ρ + v): loss per unit of φ."""
        logs = coefficient_logs(self.prior.scores, self.patterns, self.mean if theta is None else theta)
        return np.exp(np.clip(logs, -LARGEST, LARGEST)).reshape(-1, self.patterns)

    def draws(self, count: int, seed: int = 0) -> Floats:
        """(count, θ) from the posterior: draws of the prior, moved to what the runs say (Matheron's rule)."""
        rng = np.random.default_rng(seed)
        prior = self.spreads * rng.standard_normal((count, len(self.mean)))
        told = prior @ self.gradient.T + rng.standard_normal((count, len(self.gradient)))
        scaled = self.gradient * np.square(self.spreads)
        moved = np.linalg.solve(np.eye(len(self.gradient)) + scaled @ self.gradient.T, told.T)
        found: Floats = self.mean + prior - moved.T @ scaled
        return found

    def predict(self, shares: Floats, theta: Floats | None = None) -> Floats:
        """(N,) losses above dense of plans with kept `shares` (N, L, P)."""
        found: Floats = np.einsum("nlp,lp->n", curve(shares, self.prior.exponent), self.coefficients(theta))
        return found


def curve(shares: Floats, exponent: float) -> Floats:
    """φ_q: (d^−q − 1)/q, −ln d for q = 0. The same shape as `shares`."""
    logs = -np.log(shares)
    return logs if exponent == 0 else np.expm1(exponent * logs) / exponent


def coefficient_logs(scores: Floats, patterns: int, theta: Floats) -> Floats:
    """(L·P,) logarithms of the coefficients: κ + β x + u + ρ + v."""
    layers = len(scores)
    u = theta[2 : 2 + layers]
    rho = theta[2 + layers : 2 + layers + patterns]
    v = theta[2 + layers + patterns : 2 + layers + patterns + layers * patterns]
    by_layer: Floats = theta[0] + theta[1] * scores + u
    return (by_layer[:, None] + rho).ravel() + v


def by_theta(terms: Floats, scores: Floats) -> Floats:
    """(N, θ) derivatives by (κ, β, u, ρ, v) from those by the logarithms of the coefficients, `terms` (N, L, P)."""
    by_layer = terms.sum(axis=2)
    return np.hstack(
        [
            by_layer.sum(axis=1, keepdims=True),
            (by_layer @ scores)[:, None],
            by_layer,
            terms.sum(axis=1),
            terms.reshape(len(terms), -1),
        ]
    )
