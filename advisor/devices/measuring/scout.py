"""Which forms of layers plans would choose by what is known so far: what to be sure of before anybody plans."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from advisor.runtime.execution import executions

if TYPE_CHECKING:
    from advisor.devices.profile import Profile
    from advisor.network import Network
    from advisor.planning.table import CostTable

_BUDGETS = (0.8, 0.65, 0.5, 0.4)  # shares of the dense latency
_HALVINGS = 40


def wanted_by_plans(
    network: Network, profile: Profile, patterns: Sequence[str], *, include_ends: bool = False
) -> frozenset[str]:
    """Keys of the executions that plans for several budgets would choose with this profile, width left out.

    The forms that an optimum picks are those whose times happen to be predicted too low: measuring them before others
    is what makes a plan's latency right, round after round. An exact solution is not needed for that, so each layer
    takes what is least in loss + price · time, at the price that meets the budget (Lagrangian relaxation of the
    multiple-choice knapsack; Sinha and Zoltners, 1979).

    Raises:
        ProfileError: the profile holds no times.
    """
    from advisor.planning.build import build_table
    from advisor.planning.menu.options import menu

    names = tuple(name for name in patterns if name not in ("dense", "width") and "+" not in name)
    if not names:
        return frozenset()
    choices = menu(network, names, rounding="ceil", include_ends=include_ends)
    built = build_table(network, choices, profile=profile, sensitivity="erk", exchange=None, wanted=("latency",))
    found: set[str] = set()
    for picked in _cheapest(built.table):
        for name, index in zip(built.table.layers, picked, strict=True):
            option, method = choices.options[name][index], built.methods[name][index]
            if option.pattern != "dense":
                found.update(e.key for e in executions(network.layer(name), option, method=method))
    return frozenset(found)


def _cheapest(table: CostTable) -> Iterator[list[int]]:
    """For each budget, which option every layer takes."""
    times, losses = table.costs["latency"], table.loss
    constant = table.constants.get("latency", 0.0)

    def at(price: float) -> list[int]:
        return [int(np.argmin(loss + price * time)) for loss, time in zip(losses, times, strict=True)]

    def total(picked: list[int]) -> float:
        return constant + sum(float(time[index]) for time, index in zip(times, picked, strict=True))

    dense = total(list(table.dense))
    scale = sum(float(loss.max()) for loss in losses) / max(dense, 1e-9)
    for budget in _BUDGETS:
        low, high = 1e-6 * scale, 1e6 * scale
        for _ in range(_HALVINGS):
            middle = (low * high) ** 0.5
            low, high = (middle, high) if total(at(middle)) > budget * dense else (low, middle)
        yield at(high)
