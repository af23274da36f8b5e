"""Which way to save: what one pattern's estimated loss is worth in another's, and which plan the runs put first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from advisor.examples import NOTHING_GIVEN, Given
from validation.reporting.statistics import CONFIDENCE, Comparison, compare

if TYPE_CHECKING:
    from advisor.network import Network
    from advisor.plans.plan import Plan

Accuracies = Mapping[str, Mapping[int, float]]  # plan → seed → accuracy; "dense" among the plans
SMALLEST_DROP = 1e-4  # of accuracy per unit of estimated loss: below it a pattern cost nothing that could be measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How much accuracy a pattern costs per unit of estimated loss, as a multiple of the reference pattern's."""

    pattern: str
    rate: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """Rates between patterns; `reference` has rate 1. Empty where nothing could be measured; `notes` say why."""

    rates: tuple[Rate, ...] = ()
    reference: str = ""
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """`exchange` is what `advisor plan --exchange` reads."""
        return {
            "exchange": {rate.pattern: rate.rate for rate in self.rates},
            "exchange_detail": {
                "reference": self.reference,
                "confidence": CONFIDENCE,
                "rates": {one.pattern: {"rate": one.rate, "low": one.low, "high": one.high} for one in self.rates},
                "notes": list(self.notes),
            },
        }


def losses_by_pattern(
    network: Network, plan: Plan, given: Given = NOTHING_GIVEN, *, sensitivity: str | None = None
) -> dict[str, float]:
    """The plan's estimated loss, split by pattern, before any exchange rate.

    A layer that is narrowed and sparse counts for both: what its narrowing alone would lose, and the rest.

    Args:
        network: that the plan was made for.
        plan: whose loss.
        given: data, where the sensitivity needs it.
        sensitivity: that estimates; the plan's own where None.
    """
    from advisor.patterns.hierarchical import HIERARCHICAL
    from advisor.planning.attention_rows import replaced_loss
    from advisor.planning.sensitivity import losses
    from advisor.planning.sensitivity.rates import loss_parts, with_narrowing

    options = with_narrowing({layer.name: (layer.option,) for layer in plan.layers})
    found = losses(network, options, sensitivity or plan.sensitivity, given=given)
    parts: dict[str, float] = {}
    for layer in plan.layers:
        for pattern, loss in loss_parts(options[layer.name], found[layer.name])[0].items():
            parts[pattern] = parts.get(pattern, 0.0) + loss
    if plan.attention:
        parts[HIERARCHICAL] = replaced_loss(network, plan.attention, sensitivity or plan.sensitivity, given)
    return parts


def exchange(losses: Mapping[str, Mapping[str, float]], accuracies: Accuracies) -> Exchange:
    """Measures the exchange rates.

    drop[plan] = Σ_p cost[p] · loss[plan, p], where drop is the mean of dense - plan over the seeds, and loss[plan, p]
    the part of the plan's estimated loss that pattern p makes: cost[p] is accuracy lost per unit of estimated loss,
    fitted by least squares over the plans, and rate[p] = cost[p] / cost[reference]. The reference is the pattern (width
    aside) that makes most of the estimated loss, so that patterns nobody tried keep its price. To first order only: a
    rate holds near the budget, data and training it was measured at.

    The interval carries the noise between seeds (pooled as in `statistics.compare`) through the fit by the delta
    method on ln(rate).

    Args:
        losses: plan → pattern → estimated loss at rate 1 (`losses_by_pattern`); not for "dense".
    """
    finished = [plan for plan in losses if accuracies.get(plan) and any(losses[plan].values())]
    compared = compare({plan: accuracies[plan] for plan in ("dense", *finished) if accuracies.get(plan)})
    if not finished or "dense" not in compared.means:
        return Exchange(notes=("no exchange rates: the dense network and a thinned one must finish on the same seeds",))
    patterns = sorted({name for plan in finished for name, loss in losses[plan].items() if loss > 0})
    matrix = np.array([[losses[plan].get(name, 0.0) for name in patterns] for plan in finished])
    if np.linalg.matrix_rank(matrix) < len(patterns):
        return Exchange(
            notes=(
                f"no exchange rates: {len(finished)} plans do not separate the patterns {', '.join(patterns)}; "
                "add baselines, for example --baselines width,uniform",
            )
        )
    drops = np.array([compared.means["dense"] - compared.means[plan] for plan in finished])
    solver = np.linalg.pinv(matrix)
    costs = dict(zip(patterns, solver @ drops, strict=True))
    free = [name for name in patterns if costs[name] <= SMALLEST_DROP]
    if free:
        return Exchange(
            notes=(
                f"no exchange rates: {', '.join(free)} cost no accuracy that these runs could measure; "
                "try a tighter budget, more seeds or more test images",
            )
        )
    weight = dict(zip(patterns, matrix.sum(axis=0), strict=True))
    reference = max((name for name in patterns if name != "width"), key=weight.__getitem__, default=patterns[0])
    base = patterns.index(reference)
    rates = []
    for index, name in enumerate(patterns):
        low = high = None
        # ln rate = ln cost[p] - ln cost[ref]; its gradient by the drops is the difference of the solver's rows.
        gradient = solver[index] / costs[name] - solver[base] / costs[reference]
        half = _half_width(gradient, compared)
        rate = costs[name] / costs[reference]
        if half is not None and name != reference:
            low, high = rate * math.exp(-min(half, 50.0)), rate * math.exp(min(half, 50.0))
        rates.append(Rate(pattern=name, rate=float(rate), low=low, high=high))
    notes = []
    if len(patterns) == 1:
        notes.append(f"only the pattern {patterns[0]} was tried, so there is nothing to exchange")
    elif compared.noise is None:
        notes.append("one seed: the exchange rates have no interval; run more with --seeds")
    return Exchange(rates=tuple(rates), reference=reference, notes=tuple(notes))


def _half_width(gradient: np.ndarray[Any, np.dtype[np.float64]], compared: Comparison) -> float | None:
    """Half the confidence interval of gradient · drops. Every drop has noise of its own and shares dense's."""
    if compared.noise is None:
        return None
    from scipy.stats import t

    variance = compared.noise / compared.seeds * (float(gradient @ gradient) + float(gradient.sum()) ** 2)
    return float(t.ppf((1 + CONFIDENCE) / 2, compared.freedom)) * math.sqrt(variance)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Which plan the runs put first. `tied` cannot be told apart from `best`, `beaten` can."""

    best: str
    tied: tuple[str, ...]
    beaten: tuple[str, ...]
    margin: float | None
    text: str


def verdict(ways: Mapping[str, str], accuracies: Accuracies, *, at: str) -> Verdict | None:
    """Says which way to save, as far as the runs can tell.

    Args:
        ways: thinned plan → what it does, in a word or two: "narrowing", "channel".
        at: the size at which they compete: "at macs 2.8 M of 18.9 M".

    Returns:
        None where no thinned plan finished.
    """
    runs = {plan: accuracies[plan] for plan in ways if accuracies.get(plan)}
    if not runs:
        return None
    everything = dict(runs) | ({"dense": accuracies["dense"]} if accuracies.get("dense") else {})
    compared = compare(everything)
    if not compared.means:
        return None
    order = sorted(runs, key=lambda plan: -compared.means[plan])
    best, others = order[0], order[1:]
    beaten = tuple(plan for plan in others if compared.apart(best, plan))
    tied = tuple(plan for plan in others if plan not in beaten)
    names = {plan: f"{plan} {compared.means[plan]:.3f}" for plan in order}
    if not others:
        text = f"{at}: {names[best]} ran alone; there is nothing to tell it from."
    elif compared.margin is None:
        listed = ", ".join(names[plan] for plan in order)
        text = f"{at}: cannot tell apart from one seed ({listed}); run more with --seeds."
    elif not tied:
        text = (
            f"{at}, {ways[best]} wins: {names[best]} against {_listed(names, beaten)} "
            f"({_confidence()}: differences above {compared.margin:.3f} count)."
        )
    else:
        text = (
            f"{at}: cannot tell {_listed(names, (best, *tied))} apart "
            f"({_confidence()}: only differences above {compared.margin:.3f} count)"
        )
        text += f"; {'both' if len(tied) == 1 else 'all'} beat {_listed(names, beaten)}." if beaten else "."
        if beaten and not all(compared.apart(one, other) for one in tied for other in beaten):
            text = text.replace("both beat", f"{best} beats").replace("all beat", f"{best} beats")
    return Verdict(best=best, tied=tied, beaten=beaten, margin=compared.margin, text=text)


def way_of(plan: Plan) -> str:
    """What a plan does, by its patterns: "narrowing", "channel connections", "narrowing and group connections"."""
    found = sorted({name for layer in plan.layers for name in layer.pattern.split("+")} - {"dense"})
    sparse = [name for name in found if name != "width"]
    words = (["narrowing"] if "width" in found else []) + ([f"{'/'.join(sparse)} connections"] if sparse else [])
    if plan.attention:
        words.append("hierarchical attention")
    return " with ".join(words) or "keeping everything"


def _listed(names: Mapping[str, str], plans: Sequence[str]) -> str:
    texts = [names[plan] for plan in plans]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def _confidence() -> str:
    return f"{100 * CONFIDENCE:.0f} % confidence over all pairs"
