"""What others do: SPDY's dynamic program and two greedy rules, written anew from their descriptions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from advisor.planning.table import Choice, CostTable

_TINY = 1e-12


def dynamic_program(table: CostTable, key: str, limit: float, *, buckets: int = 10_000) -> Choice | None:
    """SPDY's search for given losses (Frantar and Alistarh 2022, section 3.1): one budget, discretised.

    The budget is cut into `buckets` and each time is rounded to the nearest whole number of them, so that

        best[l, t] = min_k best[l - 1, t - t[l, k]] + loss[l, k]

    has as many states as there are buckets. Rounding is its weakness: the sum of the real times may be over the budget.
    Takes O(L · K · buckets).

    Returns:
        The choice; None where no choice keeps the rounded budget.
    """
    unit = (limit - table.constants.get(key, 0.0)) / buckets
    if unit <= 0:
        return None
    best = np.zeros(buckets + 1)
    taken = []
    for times, losses in zip(table.costs[key], table.loss, strict=True):
        new = np.full(buckets + 1, np.inf)
        option = np.zeros(buckets + 1, dtype=np.int64)
        steps = np.rint(times / unit).astype(np.int64)
        for k, (step, loss) in enumerate(zip(steps.tolist(), losses.tolist(), strict=True)):
            if step > buckets:
                continue
            value = best[: buckets + 1 - step] + loss
            better = value < new[step:]
            new[step:][better] = value[better]
            option[step:][better] = k
        best = new
        taken.append((option, steps))
    if not np.isfinite(best[-1]):
        return None
    left, choice = buckets, np.zeros(len(taken), dtype=np.int64)
    for layer in range(len(taken) - 1, -1, -1):
        option, steps = taken[layer]
        choice[layer] = option[left]
        left -= int(steps[choice[layer]])
    return choice


def greedy(table: CostTable, limits: Mapping[str, float], *, by_step: bool) -> Choice | None:
    """From dense, again and again the exchange in one layer that saves most of what is over per loss added.

    Args:
        by_step: a layer goes to its next smaller option only, as tools do that prune step by step; otherwise to any.

    Returns:
        The choice; None where no exchange saves anything and the limits are not kept.
    """
    keys = list(limits)
    columns = [np.array([table.costs[key][layer] for key in keys]) for layer in range(len(table.layers))]  # (M, K)
    choice = np.array(table.dense)
    totals = np.array([table.total(key, choice) for key in keys])
    limit = np.array([limits[key] for key in keys])
    while np.any(over := np.maximum(totals - limit, 0) / limit):
        best: tuple[float, int, int] | None = None
        for layer, column in enumerate(columns):
            rate = _rates(column, table.loss[layer], int(choice[layer]), over, limit, by_step)
            k = int(np.argmax(rate))
            if rate[k] > 0 and (best is None or rate[k] > best[0]):
                best = (float(rate[k]), layer, k)
        if best is None:
            return None
        _, layer, k = best
        totals = totals + columns[layer][:, k] - columns[layer][:, choice[layer]]
        choice[layer] = k
    return choice


def _rates(
    column: NDArray[np.float64],
    loss: NDArray[np.float64],
    now: int,
    over: NDArray[np.float64],
    limit: NDArray[np.float64],
    by_step: bool,
) -> NDArray[np.float64]:
    """(K,) what an exchange for each option saves of what is over, per loss that it adds."""
    saved = np.minimum(column[:, now : now + 1] - column, (over * limit)[:, None])
    worth = (saved / limit[:, None])[over > 0].sum(axis=0)
    added = loss - loss[now]
    rate = np.where((worth > _TINY) & (added > 0), worth / np.maximum(added, _TINY), -np.inf)
    if by_step:
        following = np.flatnonzero(np.isfinite(rate))
        rate[[k for k in following if added[k] > added[following].min()]] = -np.inf
    return rate
