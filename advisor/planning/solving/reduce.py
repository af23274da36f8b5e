"""Options that no best plan needs, dropped before solving."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from advisor.planning.table import CostTable, Requirement

# Where options tie in loss and in every budgeted cost, the faster one is the better plan.
_TIE_ORDER = ("latency", "training_latency")


def undominated(
    table: CostTable, keys: Sequence[str], *, loss: bool = True, across_patterns: bool = True
) -> tuple[NDArray[np.int64], ...]:
    """Per layer the options that stay, in table order.

    An option goes where another one with the same requirement on the width groups costs no more of any of `keys` and
    loses no more: exchanging the one for the other leaves every constraint and the objective as good. Of options that
    tie in all of these, the one of least latency stays where the table knows it, then the first. So the best objective
    is the same with and without the dropped options.

    Args:
        table: the table.
        keys: the columns that the program limits or minimises.
        loss: whether the loss counts as one of them.
        across_patterns: False where the number of patterns is limited: then only options of its own pattern or dense
            beat an option, since any other may be ruled out.
    """
    others = [key for key in _TIE_ORDER if key in table.costs]
    kept = []
    for index in range(len(table.layers)):
        columns = [table.costs[key][index] for key in keys]
        if loss:
            columns.append(table.loss[index])
        ties = [table.costs[key][index] for key in others if key not in keys]
        classes: dict[Requirement, list[int]] = {}
        for k, needs in enumerate(table.requires[index]):
            classes.setdefault(tuple(sorted(needs)), []).append(k)
        names = [option.pattern for option in table.options[index]] if not across_patterns else None
        stay = [k for members in classes.values() for k in _front(members, columns, ties, names)]
        kept.append(np.array(sorted(stay), dtype=np.int64))
    return tuple(kept)


def _front(
    members: list[int],
    columns: list[NDArray[np.float64]],
    ties: list[NDArray[np.float64]],
    names: list[str] | None,
) -> list[int]:
    if len(members) < 2:
        return members
    order = np.array(members)
    if ties:
        order = order[np.lexsort([column[order] for column in reversed(ties)])]
    values = np.array([column[order] for column in columns]).reshape(len(columns), len(order)).T
    # below[i, j]: i is at most j everywhere. Equal in both directions: the earlier in `order` wins.
    below = np.all(values[:, None, :] <= values[None, :, :], axis=2)
    if names is not None:
        own = np.array([names[k] for k in order])
        below &= (own[:, None] == own[None, :]) | (own == "dense")[:, None]
    earlier = np.triu(np.ones_like(below), 1)
    beaten = np.any(below & (~below.T | earlier), axis=0)
    found: list[int] = order[~beaten].tolist()
    return found
