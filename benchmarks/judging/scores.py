"""How well numbers rank plans: Spearman's correlation within budgets, with bootstrap intervals and its ceiling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]
RESAMPLES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Correlation:
    """Spearman's rho between a predicted and the measured loss, with a 95 % interval over resampled plans."""

    rho: float
    low: float
    high: float


def correlation(
    predicted: Mapping[str, float], measured: Mapping[str, float], strata: Mapping[str, str], *, seed: int = 0
) -> Correlation:
    """Spearman's rho within strata, averaged with their sizes as weights; the interval resamples plans within each.

    Args:
        predicted: plan → loss; constant ones have rho 0.
        measured: plan → loss; only plans in both count.
        strata: plan → its stratum: a budget, or a budget and a pattern.
    """
    groups: dict[str, list[str]] = {}
    for plan in measured:
        if plan in predicted:
            groups.setdefault(strata[plan], []).append(plan)
    pairs = [
        (np.array([predicted[plan] for plan in plans]), np.array([measured[plan] for plan in plans]))
        for plans in groups.values()
        if len(plans) >= 4
    ]
    if not pairs:
        return Correlation(rho=float("nan"), low=float("nan"), high=float("nan"))
    rng = np.random.default_rng(seed)
    sizes = np.array([len(x) for x, _ in pairs], np.float64)
    drawn = np.zeros(RESAMPLES)
    rho = 0.0
    for (x, y), size in zip(pairs, sizes, strict=True):
        rows = rng.integers(0, len(x), (RESAMPLES, len(x)))
        drawn += size / sizes.sum() * _rank_correlation(x[rows], y[rows])
        rho += size / sizes.sum() * spearman(x, y)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Correlation(rho=float(rho), low=float(low), high=float(high))


def spearman(x: Floats, y: Floats) -> float:
    """The correlation of ranks, ties at their mean; 0 where one side is constant."""
    return float(_rank_correlation(x[None], y[None])[0])


def _rank_correlation(x: Floats, y: Floats) -> Floats:
    """(B,) of rows (B, N)."""
    a, b = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (rankdata(x, axis=1), rankdata(y, axis=1)))
    size = np.sqrt(np.square(a).sum(axis=1) * np.square(b).sum(axis=1))
    return np.divide((a * b).sum(axis=1), size, out=np.zeros(len(a)), where=size > 0)


def ceiling(losses: Mapping[str, Mapping[int, float]], strata: Mapping[str, str]) -> float:
    """What a perfect prediction could reach: the square root of the measured means' reliability.

    With plans as rows and seeds as columns, the variance between plans is that of the means less the noise's, within
    each stratum (Spearman 1904: correlation falls by the root of the reliability). 1 where one seed allows no estimate.
    """
    between = within = 0.0
    count = 0
    for stratum in sorted(set(strata.values())):
        rows = [losses[plan] for plan in losses if strata[plan] == stratum]
        shared = sorted(set.intersection(*(set(row) for row in rows))) if rows else []
        if len(shared) < 2 or len(rows) < 3:
            continue
        table = np.array([[row[seed] for seed in shared] for row in rows])
        table = table - table.mean(axis=0)
        means = table.mean(axis=1)
        noise = float(np.square(table - means[:, None]).sum()) / ((len(rows) - 1) * (len(shared) - 1)) / len(shared)
        between += len(rows) * max(float(means.var(ddof=1)) - noise, 0.0)
        within += len(rows) * noise
        count += len(rows)
    return float(np.sqrt(between / (between + within))) if count else 1.0
