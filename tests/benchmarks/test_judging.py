"""The judge of predicted losses: rank correlations, their intervals and their ceiling, on numbers that are known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.judging.scores import ceiling, correlation, spearman


def test_spearman_is_scipys() -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 5, 40).astype(float), rng.normal(size=40)
    assert spearman(x, y) == pytest.approx(spearmanr(x, y).statistic)
    assert spearman(np.ones(5), np.arange(5.0)) == 0


def test_budgets_are_judged_apart() -> None:
    """Two budgets whose losses lie far apart: a prediction that knows the budget alone ranks nothing."""
    measured = {f"{b}-{n}": 10.0 * b + n for b in (0, 1) for n in range(10)}
    strata = {plan: plan[0] for plan in measured}
    knows = {plan: float(plan[0]) for plan in measured}
    assert correlation(knows, measured, strata).rho == 0
    found = correlation(measured, measured, strata)
    assert found.rho == pytest.approx(1)
    assert found.low == pytest.approx(1)


def test_the_interval_widens_with_fewer_plans() -> None:
    rng = np.random.default_rng(1)

    def width(count: int) -> float:
        truth = rng.normal(size=count)
        measured = {str(n): float(value) for n, value in enumerate(truth)}
        predicted = {str(n): float(value + rng.normal()) for n, value in enumerate(truth)}
        found = correlation(predicted, measured, dict.fromkeys(measured, "all"))
        return found.high - found.low

    assert width(20) > 1.5 * width(200)


def test_the_ceiling_is_the_root_of_the_reliability() -> None:
    rng = np.random.default_rng(2)
    losses = {
        str(n): {seed: float(value + 1.0 * rng.normal() + 5 * seed) for seed in range(2)}
        for n, value in enumerate(rng.normal(size=2000))
    }
    # variance 1 between plans, noise 1/2 of the mean of two runs
    assert ceiling(losses, dict.fromkeys(losses, "all")) == pytest.approx(np.sqrt(1 / 1.5), abs=0.03)
    assert ceiling({"a": {0: 1.0}, "b": {0: 2.0}}, {"a": "all", "b": "all"}) == 1.0
