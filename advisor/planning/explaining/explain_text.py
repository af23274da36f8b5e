"""The words of an explanation: exact amounts, in the costs' units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from advisor.planning.budgets import cost_text

if TYPE_CHECKING:
    from advisor.planning.explaining.explanation import Reason, Step


# How a layer with zeros in it runs where no kernel leaves them out.
_RUNS = {"dense": ", masked, as the dense layer runs", "packed": ", masked, its kept values scattered at every step"}


def prices_text(prices: Mapping[str, float], left: Mapping[str, float], limits: Mapping[str, float]) -> str:
    """What the budgets are worth and how much of them is left: what all the reasons below are measured with."""
    parts = []
    for key, limit in limits.items():
        worth = f"a loss of {_per_unit(key, prices[key])}" if prices[key] else "nothing, as it does not bind"
        parts.append(f"{key}: budget {cost_text(key, limit)}, {cost_text(key, left[key])} left; more is worth {worth}")
    return "\n".join(parts)


def _per_unit(key: str, price: float) -> str:
    """ "0.0312 per ms", "0.0021 per 1 M of params"."""
    step = 1.0
    if price:
        while price * step < 1e-4:
            step *= 1e3
    return f"{price * step:.4g} per {_unit(key, step)}"


def _unit(key: str, step: float) -> str:
    text = cost_text(key, step).split(" ")
    number = float(text[0])
    unit = " ".join(text[1:])
    return (unit if number == 1 and unit else f"{number:g} {unit}".strip()) + f" of {key}"


def paragraph(reason: Reason, dense: Mapping[str, float]) -> Reason:
    """The reason with its text. `dense`: what the dense network costs."""
    group = len(reason.layers) != 1 or reason.name != reason.layers[0]
    head = f"width group {reason.name} ({', '.join(reason.layers)})" if group else reason.name
    how = _RUNS.get(reason.method, f", by {reason.method}" if reason.method else "")
    parts = [f"{head}: {_option(reason.option)}{how}"]
    if reason.asked:
        parts.append(f"asked for: {reason.asked}")
    if reason.fixed:
        parts.append(f"it has no other option: {reason.fixed}")
    saved = {key: amount for key, amount in reason.saves.items() if amount}
    loss = f"for a loss of {reason.loss:.4g}" if reason.loss else "for no loss"
    if saved:
        parts.append(f"saves {_amounts(saved, dense)} {loss}")
    elif not reason.fixed:
        parts.append(f"saves nothing of what is limited, {loss}")
    if not reason.fixed:
        down, up = ("next narrower", "next wider") if group else ("next step down", "next step up")
        by_itself = "left" if reason.asked else "for it alone"
        parts.append(_step(down, reason.down) if reason.down else f"there is no {down} {by_itself}")
        if reason.up is not None:
            parts.append(_step(up, reason.up))
        elif reason.loss > 0 and not group:
            parts.append(f"there is no {up} {by_itself}")
    return replace(reason, text="; ".join(parts))


def _option(label: str) -> str:
    return "dense" if label == "dense d=1" else label


def _amounts(costs: Mapping[str, float], dense: Mapping[str, float]) -> str:
    return " and ".join(
        f"{cost_text(key, amount)} of {key}" + (f" ({amount / dense[key]:.2%} of dense)" if dense.get(key) else "")
        for key, amount in costs.items()
    )


def _changes(costs: Mapping[str, float]) -> str:
    told = [
        f"{cost_text(key, abs(amount))} {'less' if amount < 0 else 'more'} {key}"
        for key, amount in costs.items()
        if amount
    ]
    return " and ".join(told) or "no change of what is limited"


def _step(what: str, step: Step) -> str:
    lost = f"a loss {'greater' if step.loss > 0 else 'smaller'} by {abs(step.loss):.4g}"
    text = f"{what}, {_option(step.option)}: {_changes(step.costs)} and {lost}"
    if step.worth < 0:
        text += f"; what that frees is worth {-step.worth:.4g}, {_compared(-step.worth, step.loss)} than it loses"
        against = -step.worth > step.loss
    elif step.worth > 0:
        text += f"; what that takes is worth {step.worth:.4g}, {_compared(step.worth, -step.loss)} than it gains"
        against = step.worth < -step.loss
    else:
        against = False
        if any(amount < 0 for amount in step.costs.values()):
            text += ", and no budget needs it"
    if not step.fits:
        return f"{text}, {'and more than is left' if max(step.costs.values()) > 0 else 'and still over a budget'}"
    # What the prices would favour, the solver weighed with whole options.
    return f"{text} (by prices that hold for fractions of options)" if against else text


def _compared(worth: float, change: float) -> str:
    return "more" if worth > change else "less"
