"""Which budgets bind, and what a little more of each would be worth."""

from __future__ import annotations

import math
from collections.abc import Mapping

from advisor.planning.budgets import cost_text
from advisor.plans.plan import Binding

_FREE = 1e-6  # of the loss: what a whole limit is worth at least, to be called binding
_SHARE = 0.05  # of the limit: the step that the text speaks of is the next smaller power of ten


def binding(prices: Mapping[str, float], limits: Mapping[str, float], objective: float) -> tuple[Binding, ...]:
    """The budgets whose shadow price is not 0, the most valuable first.

    Args:
        prices: cost → loss per unit of the cost, from the linear relaxation (`Solution.prices`).
        limits: cost → limit in the cost's unit.
        objective: the loss that the prices are compared with.
    """
    worth = {key: price * abs(limits[key]) for key, price in prices.items() if key in limits}
    found = [key for key, value in worth.items() if value > _FREE * max(abs(objective), 1e-300)]
    return tuple(
        Binding(cost=key, shadow_price=prices[key], text=_text(key, prices[key], limits[key]))
        for key in sorted(found, key=lambda key: -worth[key])
    )


def _text(key: str, price: float, limit: float) -> str:
    """ "1 ms more would lower the loss by about 0.0031"."""
    step = 10.0 ** math.floor(math.log10(_SHARE * abs(limit))) if limit else 1.0
    number, _, unit = cost_text(key, step).partition(" ")
    amount = f"{float(number):g} {unit}".rstrip()
    return f"{amount} more would lower the loss by about {price * step:.2g}"
