"""What a validation's runs say: costs promised and met, exchange rates, the verdict, and notes on all of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from advisor.errors import AdvisorError, ProfileError
from advisor.planning.budgets import TIMES, cost_text
from validation.reporting.exchange import Exchange, exchange, losses_by_pattern, verdict
from validation.reporting.report import Findings, accuracies_of

if TYPE_CHECKING:
    from advisor.examples import Given
    from advisor.network import Network
    from advisor.plans.plan import Plan
    from validation.contestants import Contestant
    from validation.reporting.receipts import Counts, Timings
    from validation.running.trials import Study
    from validation.wish import Wish


def predicted_costs(one: Contestant, wish: Wish, network: Network) -> tuple[dict[str, Any], str]:
    """Cost key → what the plan promises, with `key_low`, `key_high`, `key_origin`; times from the profile given.

    Returns:
        The costs, and why a time is missing ("" where none is).
    """
    found: dict[str, Any] = {}
    for key, line in wish.plan.costs.items() if one.plan is None else one.plan.costs.items():
        found[key] = line.dense if one.plan is None else line.plan
        if one.plan is not None and line.low is not None and line.high is not None:
            found |= {f"{key}_low": line.low, f"{key}_high": line.high}
    if one.plan is None:
        found |= {"params": network.params, "macs": network.macs}
    if wish.profile is not None:
        from advisor.devices.predicting.verify import predict_latency

        try:
            told = predict_latency(network, wish.profile, one.plan)
        except ProfileError as error:
            return found, f"latency of {one.label} is not predicted: {error}"
        found |= {"latency": told.latency_ms, "latency_low": told.low_ms, "latency_high": told.high_ms}
        found["latency_origin"] = told.origin
    return found, ""


def judge(
    wish: Wish,
    study: Study,
    network: Network,
    given: Given,
    runs: list[dict[str, Any]],
    counts: Mapping[str, Counts],
    timings: Timings | None,
    missing: Mapping[str, str],
    notes: tuple[str, ...],
) -> Findings:
    accuracies = accuracies_of(runs)
    thinned = {one.label: one.plan for one in study.contestants if one.plan is not None}
    ways = {one.label: one.way for one in study.contestants}
    try:
        losses = {  # a training method's gain is no pattern's
            one.label: losses_by_pattern(network, one.plan, given, sensitivity=wish.plan.sensitivity)
            for one in study.contestants
            if one.plan is not None and one.method is None
        }
        rates = exchange(losses, accuracies)
    except AdvisorError as error:  # a sensitivity that cannot be asked again here
        rates = Exchange(notes=(f"no exchange rates: {error}",))
    over = {
        one.label: found
        for one in study.contestants
        if one.plan is not None and (found := over_budget(one.plan, wish.plan, found=one.method is not None))
    }
    fair = {label: ways[label] for label in thinned if label not in over}
    predicted = {}
    said = list(notes)
    if wish.profile is None and any(wish.plan.costs[key].budget is not None for key in TIMES if key in wish.plan.costs):
        said.append(
            "no profile: baselines are held to the plan's MACs, not to its time; give --profile to hold them to it"
        )
    for one in study.contestants:
        predicted[one.label], note = predicted_costs(one, wish, network)
        said += [note] if note else []
        said += [f"{one.label}: {text}" for text in counts[one.label].notes]
        said += [f"{one.label} does not keep the budgets: {text}" for text in over.get(one.label, ())]
    said += [f"{run['plan']}, seed {run['seed']} failed: {run['problem']}" for run in runs if run["problem"]]
    said += [f"{run['plan']} was stopped {run['stopped']}" for run in runs if run.get("stopped")]
    if any(run.get("stopped") for run in runs):
        said.append(
            "plans were stopped while their learning rate was still high; ranks are less sure there than at the end of "
            "shorter runs"
        )
    said += methods_notes(runs)
    said += machines_note(runs)
    settings = study.settings() | {
        "seeds": list(study.seeds),
        "schedule": "one-cycle rate, the same batches for every plan of a seed",
        "latency": timings.settings if timings else None,
    }
    return Findings(
        model=wish.model,
        network=network,
        contestants=study.contestants,
        runs=runs,
        counts=counts,
        timings=timings,
        predicted=predicted,
        exchange=rates,
        verdict=verdict(fair, accuracies, at=_size(wish, network)),
        settings=settings,
        command=wish.command,
        missing=missing,
        notes=tuple(dict.fromkeys(said)),
    )


def machines_note(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Says where the runs did not all train on one kind of machine."""
    kinds = sorted({run["machine"] for run in runs if "machine" in run})
    if len(kinds) < 2:
        return []
    return [
        f"runs trained on {len(kinds)} kinds of machine ({', '.join(kinds)}), whose sums round differently: that noise "
        "is in the intervals, too"
    ]


def methods_notes(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What training methods said of their runs; with the seed where that is not what they say of every seed."""
    found: dict[tuple[str, str], list[int]] = {}
    seeds: dict[str, int] = {}
    for run in runs:
        seeds[run["plan"]] = seeds.get(run["plan"], 0) + 1
        for note in dict.fromkeys(run.get("method", {}).get("notes", ())):
            found.setdefault((run["plan"], note), []).append(run["seed"])
    return [
        f"{plan}: {note}" if len(where) == seeds[plan] else f"{plan}, seed {', '.join(map(str, where))}: {note}"
        for (plan, note), where in found.items()
    ]


def over_budget(plan: Plan, asked: Plan, *, found: bool = False) -> tuple[str, ...]:
    """What keeps a plan out of the verdict, in words: limits of the plan asked for that it breaks or does not tell.

    A baseline of a slow pattern cannot meet a time. A baseline without a known time was made at the plan's MACs
    instead; what a training method leaves was held to nothing.

    Args:
        found: a training method left it.
    """
    reasons = []
    for key, line in asked.costs.items():
        if line.budget is None:
            continue
        name, limit = key.replace("_", " "), cost_text(key, line.budget)
        if key in plan.costs and plan.costs[key].plan > line.budget:
            reasons.append(f"{name} {cost_text(key, plan.costs[key].plan)} of {limit} allowed")
        elif found and key not in plan.costs:
            reasons.append(f"its {name} is not known, and {limit} are allowed")
    return tuple(f"{reason}; it does not count in the verdict" for reason in reasons)


def _size(wish: Wish, network: Network) -> str:
    """ "At macs 20 %" of what the dense network takes, by the plan's budgets."""
    shares = [
        f"{key.replace('_', ' ')} {100 * line.budget / line.dense:.0f} %"
        for key, line in wish.plan.costs.items()
        if line.budget is not None and line.dense
    ]
    size = f"{network.params:,} parameters" if network.params < 1e6 else f"{network.params / 1e6:.1f} M parameters"
    return f"At {' and '.join(shares) or 'the plan'} of dense ({size}, {network.macs / 1e6:.1f} M MACs)"
