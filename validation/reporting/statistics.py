"""What a few seeds allow one to say, and no more."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """A mean over seeds. `low` and `high` are None where one value (or none) allows no interval."""

    mean: float
    low: float | None
    high: float | None
    count: int


def mean_interval(
    values: Sequence[float], confidence: float = CONFIDENCE, bounds: tuple[float, float] = (-math.inf, math.inf)
) -> Mean:
    """Student's t interval of the mean: the values are taken as independent and normal with unknown spread.

    Args:
        values: one or more finite numbers, one per seed.
        bounds: where the mean must lie whatever the sample says (0 and 1 for an accuracy); the interval ends there.
    """
    from scipy.stats import t

    count = len(values)
    mean = math.fsum(values) / count
    if count < 2:
        return Mean(mean=mean, low=None, high=None, count=count)
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    half = float(t.ppf((1 + confidence) / 2, count - 1)) * math.sqrt(variance / count)
    return Mean(mean=mean, low=max(mean - half, bounds[0]), high=min(mean + half, bounds[1]), count=count)


def paired(values: Mapping[int, float], reference: Mapping[int, float], confidence: float = CONFIDENCE) -> Mean | None:
    """The mean difference values - reference over the seeds both have; None where they share none.

    Runs of one seed share initial weights and batches, so that luck common to both cancels.
    """
    shared = sorted(values.keys() & reference.keys())
    return mean_interval([values[seed] - reference[seed] for seed in shared], confidence) if shared else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Mean differences between plans that were run on the same seeds.

    Attributes:
        means: plan → mean over the seeds that all of them finished.
        margin: two means that differ by more than this are told apart with `confidence`, whichever two they are;
            None where the runs allow no such statement.
        seeds: how many seeds all plans finished.
        noise: variance of one run around plan and seed, with `freedom` degrees of freedom; None like `margin`.
    """

    means: Mapping[str, float]
    margin: float | None
    seeds: int
    noise: float | None = None
    freedom: int = 0

    def apart(self, one: str, other: str) -> bool:
        """Whether the runs tell the two apart."""
        return self.margin is not None and abs(self.means[one] - self.means[other]) > self.margin


@lru_cache(maxsize=256)
def _studentized_range(confidence: float, groups: int, freedom: int) -> float:
    """The quantile, remembered: scipy integrates for it, a tenth of a second each time."""
    from scipy.stats import studentized_range

    return float(studentized_range.ppf(confidence, groups, freedom))


def compare(values: Mapping[str, Mapping[int, float]], confidence: float = CONFIDENCE) -> Comparison:
    """All pairs of plans at once, by Tukey's range test in the randomised block design (plans x seeds).

    value[plan, seed] = plan + seed + noise; the noise's variance is pooled over all plans, with (P-1)(S-1) degrees of
    freedom, so that two seeds of five plans already say something. With P plans the margin is q sqrt(variance / S),
    q the studentised range's quantile (Tukey 1949): it holds for the best of several plans, not just for one pair
    chosen beforehand.

    Args:
        values: plan → seed → value. Only seeds that every plan has are used.
    """
    plans = list(values)
    shared = sorted(set.intersection(*(set(values[plan]) for plan in plans))) if plans else []
    count = len(shared)
    if not count:
        return Comparison(means={}, margin=None, seeds=0)
    means = {plan: math.fsum(values[plan][seed] for seed in shared) / count for plan in plans}
    if count < 2 or len(plans) < 2:
        return Comparison(means=means, margin=None, seeds=count)
    grand = math.fsum(means.values()) / len(plans)
    luck = {seed: math.fsum(values[plan][seed] for plan in plans) / len(plans) - grand for seed in shared}
    freedom = (len(plans) - 1) * (count - 1)
    noise = math.fsum((values[plan][seed] - means[plan] - luck[seed]) ** 2 for plan in plans for seed in shared)
    quantile = _studentized_range(confidence, len(plans), freedom)
    variance = noise / freedom
    return Comparison(
        means=means, margin=quantile * math.sqrt(variance / count), seeds=count, noise=variance, freedom=freedom
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference(Mean):
    """A mean difference from a reference, with the test of "there is none".

    Attributes:
        p: two-sided p value of the paired t test; None where one seed allows no test.
        p_holm: p after Holm's step-down correction for all plans that were compared with the reference: calling every
            plan different whose `p_holm` is at most 0.05 is wrong about any of them in at most 5 % of studies.
        freedom: degrees of freedom of the noise that the test leans on.
    """

    p: float | None = None
    p_holm: float | None = None
    freedom: int = 0


def differences(
    values: Mapping[str, Mapping[int, float]], reference: str, confidence: float = CONFIDENCE
) -> dict[str, Difference]:
    """Plan → mean of plan - reference over the seeds, with the noise pooled over all plans as in `compare`.

    With two plans this is the paired t test and its interval (Student 1908); with more, the same with more degrees of
    freedom. Each interval and each `p` holds by itself, `p_holm` for all of them at once. Plans without values are left
    out.
    """
    finished = {plan: runs for plan, runs in values.items() if runs}
    found: dict[str, Difference] = {}
    if reference not in finished:
        return found
    pooled = compare(finished, confidence)
    for plan, runs in finished.items():
        if plan == reference:
            continue
        if pooled.noise is not None:
            mean = pooled.means[plan] - pooled.means[reference]
            # A difference of two means over S seeds has variance 2 noise / S.
            spread = math.sqrt(2 * pooled.noise / pooled.seeds)
            found[plan] = _tested(mean, spread, pooled.freedom, pooled.seeds, confidence)
        elif shared := sorted(runs.keys() & finished[reference].keys()):
            found[plan] = _paired_test([runs[seed] - finished[reference][seed] for seed in shared], confidence)
    adjusted = holm({plan: one.p for plan, one in found.items() if one.p is not None})
    return {plan: replace(one, p_holm=adjusted.get(plan)) for plan, one in found.items()}


def _paired_test(values: Sequence[float], confidence: float) -> Difference:
    mean, count = math.fsum(values) / len(values), len(values)
    if count < 2:
        return Difference(mean=mean, low=None, high=None, count=count)
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    return _tested(mean, math.sqrt(variance / count), count - 1, count, confidence)


def _tested(mean: float, spread: float, freedom: int, count: int, confidence: float) -> Difference:
    """`spread`: the standard error of `mean`. Without any noise, a difference is certain and none is none."""
    from scipy.stats import t

    half = float(t.ppf((1 + confidence) / 2, freedom)) * spread
    p = (2 * float(t.sf(abs(mean) / spread, freedom))) if spread else float(mean == 0)
    return Difference(mean=mean, low=mean - half, high=mean + half, count=count, p=p, freedom=freedom)


def holm(values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down correction (Holm 1979): p values that hold for all tests at once, in whatever way they depend.

    p_holm[k] = max over j ≤ k of min(1, (m - j + 1) p[j]), the p values in rising order, m of them.
    """
    adjusted: dict[str, float] = {}
    reached = 0.0
    for rank, name in enumerate(sorted(values, key=lambda one: (values[one], one))):
        reached = max(reached, min(1.0, (len(values) - rank) * values[name]))
        adjusted[name] = reached
    return adjusted
