"""Fits response curves to runs, by maximum a posteriori. Pure NumPy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from advisor.planning.sensitivity.trained_curves import (
    LARGEST,
    SETTING_SPREAD,
    Curves,
    Floats,
    Ints,
    Prior,
    Runs,
    by_theta,
    coefficient_logs,
    curve,
)

EXPONENTS = (-0.5, 0.0, 0.5)  # q: of the family of curves
LAYER_SPREADS = (0.25, 0.5, 1.0)  # standard deviation of u
PAIR_SPREADS = (0.2, 0.5)  # of v
UNLIKELY = 4.0  # nats of evidence that a curve must bring for each 1 that its exponent is away from 0
STEPS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """Runs under one prior: predictions with each block's mean taken out, and their gradient."""

    runs: Runs
    prior: Prior
    phi: Floats  # (R, L, P)
    settings: int
    centre: Floats  # (R, R)
    y: Floats  # (R,) centred losses

    def predicted(self, theta: Floats) -> tuple[Floats, Floats]:
        """(R,) and (R, θ)."""
        count, layers, patterns = self.phi.shape
        size = len(theta) - self.settings
        logs = np.clip(coefficient_logs(self.prior.scores, patterns, theta), -LARGEST, LARGEST)
        factor = np.exp(np.clip(theta[size:], -LARGEST, LARGEST))[self.runs.setting]
        terms = self.phi * np.exp(logs).reshape(layers, patterns) * factor[:, None, None]
        total = terms.sum(axis=(1, 2))
        by_setting = np.zeros((count, self.settings))
        by_setting[np.arange(count), self.runs.setting] = total
        return self.centre @ total, self.centre @ np.hstack([by_theta(terms, self.prior.scores), by_setting])


def fit(runs: Runs, prior: Prior) -> Curves:
    """The posterior for one prior, by damped Gauss-Newton steps in as many dimensions as there are runs.

    The noise is the one whose residual has the degrees of freedom that the runs leave (MacKay 1992). Costs about
    R²·θ + R³ for each of up to 60 steps.

    Raises:
        ValueError: no runs.
    """
    count, _, patterns = runs.shares.shape
    if not count:
        raise ValueError("no runs")
    settings = int(runs.setting.max()) + 1
    centre = _centred(runs.block)
    phi = curve(runs.shares, prior.exponent)
    model = _Model(runs=runs, prior=prior, phi=phi, settings=settings, centre=centre, y=centre @ runs.loss)
    spreads = np.concatenate([prior.spreads(patterns), np.full(settings, SETTING_SPREAD)])
    mean = np.zeros(len(spreads))
    mean[1] = 1.0
    mean[0] = _scale(model.predicted(mean)[0], model.y)
    freedom = max(count - int(runs.block.max()) - 1, 1)
    variance: float = max(float(model.y @ model.y) / freedom, 1e-12) * 0.25
    theta, damping = mean.copy(), 1e-2

    def cost(theta: Floats, residual: Floats) -> float:
        away = (theta - mean) / spreads
        return 0.5 * (float(residual @ residual) / variance + float(away @ away))

    predicted, gradient = model.predicted(theta)
    for _ in range(STEPS):
        residual = model.y - predicted
        before = cost(theta, residual)
        while damping < 1e9:
            step = _step(gradient, residual, theta - mean, spreads, variance, damping)
            tried, steeper = model.predicted(theta + step)
            if cost(theta + step, model.y - tried) < before:
                break
            damping *= 4.0
        else:
            break
        theta, predicted, gradient, damping = theta + step, tried, steeper, max(damping / 6.0, 1e-6)
        residual = model.y - predicted
        kernel = (gradient * np.square(spreads)) @ gradient.T
        effective = float(np.trace(np.linalg.solve(kernel + variance * np.eye(count), kernel)))
        updated = max(float(residual @ residual) / max(freedom - effective, 1.0), 1e-10)
        settled = abs(math.log(updated / variance)) < 1e-3 and float(np.abs(step / spreads).max()) < 1e-3
        variance = updated
        if settled:
            break
    kernel = (gradient * np.square(spreads)) @ gradient.T / variance
    evidence = (
        -cost(theta, model.y - predicted)
        - 0.5 * freedom * math.log(2 * math.pi * variance)
        - 0.5 * float(np.linalg.slogdet(np.eye(count) + kernel)[1])
    )
    return Curves(
        prior=prior,
        patterns=patterns,
        mean=theta,
        spreads=spreads,
        gradient=gradient / math.sqrt(variance),
        noise=math.sqrt(variance),
        evidence=evidence,
    )


def _step(gradient: Floats, residual: Floats, away: Floats, spreads: Floats, variance: float, damping: float) -> Floats:
    """(JᵀJ/σ² + (1 + damping)/s²)⁻¹ (Jᵀr/σ² − away/s²), by the Woodbury identity in R dimensions."""
    covariance = np.square(spreads) / (1.0 + damping)
    wanted = gradient.T @ residual / variance - away / np.square(spreads)
    scaled = gradient * covariance
    inner = np.linalg.solve(variance * np.eye(len(gradient)) + scaled @ gradient.T, scaled @ wanted)
    found: Floats = covariance * wanted - scaled.T @ inner
    return found


def best_fit(
    runs: Runs,
    prior: Prior,
    *,
    exponents: Sequence[float] = EXPONENTS,
    layer_spreads: Sequence[float] = LAYER_SPREADS,
    pair_spreads: Sequence[float] = PAIR_SPREADS,
) -> Curves:
    """The fit whose prior the runs support best, by evidence (type II maximum likelihood, MacKay 1992).

    Plans at one budget hardly show how curves bend, so others than −ln d need evidence (`UNLIKELY`).
    """
    fits = [
        fit(runs, replace(prior, exponent=q, layer_spread=u, pair_spread=v))
        for q, u, v in product(exponents, layer_spreads, pair_spreads)
    ]
    return max(fits, key=lambda found: found.evidence - UNLIKELY * abs(found.prior.exponent))


def _centred(block: Ints) -> Floats:
    """(R, R) takes the mean of each block out."""
    same = (block[:, None] == block[None, :]).astype(np.float64)
    found: Floats = np.eye(len(block)) - same / same.sum(axis=1, keepdims=True)
    return found


def _scale(x: Floats, y: Floats) -> float:
    """κ that fits best where everything else is the prior's; x what κ = 0 predicts."""
    if float(np.abs(x).max()) < 1e-9:  # all plans are alike
        return 0.0
    slope = float(x @ y) / max(float(x @ x), 1e-300)
    typical = float(np.std(y)) / max(float(np.std(x)), 1e-300) if len(y) > 1 else 1.0
    return math.log(min(max(slope, 0.1 * typical, 1e-12), 1e12))
