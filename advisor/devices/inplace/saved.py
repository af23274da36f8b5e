"""What a sparse layer saves beside itself, and how far sums over layers are from the wholes of the passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from advisor.devices.inplace.collect import Time
    from advisor.devices.measuring.kept import Pass
    from advisor.devices.profile import Measurement

_SHRINK = 4.0  # so many passes count as much as knowing nothing of what a call costs
_HELD = 0.80


def saved_ms(
    taken: Mapping[str, Sequence[int]],
    times: Sequence[Time],
    passes: Sequence[Pass],
    interpreter_ms: float,
) -> dict[str, float]:
    """Layer → ms that its sparse form saves beside the layer's own time.

    Σ of the operators that it takes in, less its share of what the interpreter takes longer: a sparse layer's call is
    more Python than torch's own, but there are fewer operators around it. That is the median over the passes, in equal
    parts for each call of a sparse layer; of few passes it counts in part.

    Args:
        taken: layer → steps of the dense network that it makes needless.
        times: of the dense network's steps.
        interpreter_ms: of the dense network, drawn as `Pass.interpreter_ms` is.
    """
    longer = [(one.interpreter_ms - interpreter_ms) / len(one.layers) for one in passes if one.layers]
    each = median(longer) * len(longer) / (len(longer) + _SHRINK) if longer else 0.0
    calls: dict[str, int] = {}
    for one in passes[:1]:
        for name, _ in one.layers:
            calls[name] = calls.get(name, 0) + 1
    names = {**dict.fromkeys(taken), **dict.fromkeys(calls)}
    return {n: sum(times[i].median_ms for i in taken.get(n, ())) - each * calls.get(n, 0) for n in names}


def deviations(
    passes: Sequence[Pass],
    sparse: Mapping[str, Measurement],
    dense_ms: Mapping[str, float],
    saved: Mapping[str, float],
    whole_ms: float,
) -> np.ndarray:
    """(passes,): what the sum says of each pass / its measured whole - 1.

    Args:
        dense_ms: layer → what it takes dense, all calls together.
    """
    found = []
    for one in passes:
        names = {name for name, _ in one.layers}
        predicted = whole_ms + sum(sparse[e.key].median_ms for _, e in one.layers)
        predicted -= sum(dense_ms[name] + saved.get(name, 0.0) for name in names)
        found.append(predicted / one.whole_ms - 1)
    return np.array(found, dtype=np.float64)


def usual(found: np.ndarray) -> float:
    """What 80 % of the deviations stay within, either way; a few more where there are few."""
    if not len(found):
        return 0.0
    rank = min(_HELD * (len(found) + 1) / len(found), 1.0)
    return float(np.quantile(np.abs(found), rank))
