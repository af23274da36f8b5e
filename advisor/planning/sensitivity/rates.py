"""Exchange rates between patterns, put on estimated losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from advisor.patterns.narrowed import inner_name, is_combined, width_option
from advisor.patterns.option import Option

Floats = NDArray[np.float64]


def with_narrowing(options: Mapping[str, tuple[Option, ...]]) -> dict[str, tuple[Option, ...]]:
    """Per layer its options, and after them the narrowing alone of those combined ones whose narrowing is missing."""
    found = {}
    for layer, choices in options.items():
        more = {width_option(option).label: width_option(option) for option in choices if is_combined(option)}
        for option in choices:
            more.pop(option.label, None)
        found[layer] = (*choices, *more.values())
    return found


def rated(options: Sequence[Option], losses: Floats, rates: Mapping[str, float]) -> Floats:
    """(K,) losses times their patterns' rates; 1 where `rates` is silent.

    A combined option loses what its narrowing loses, at the rate of width, and what goes beyond that, at the rate of
    the pattern within: r_w · f(width) + r_p · (f − f(width)). With losses that are logarithms of the kept share, f −
    f(width) is that of the density within, so the two factors of the share are priced apart.

    Args:
        options: as `with_narrowing` gives them.
        losses: (K,) of these.
        rates: pattern → factor.
    """
    at = {option.label: index for index, option in enumerate(options)}
    found: Floats = losses * np.array([rates.get(option.pattern, 1.0) for option in options])
    for index, option in enumerate(options):
        if is_combined(option):
            narrow = float(losses[at[width_option(option).label]])
            beyond = max(float(losses[index]) - narrow, 0.0)
            found[index] = rates.get("width", 1.0) * narrow + rates.get(inner_name(option.pattern), 1.0) * beyond
    return found


def loss_parts(options: Sequence[Option], losses: Floats) -> list[dict[str, float]]:
    """Per option its loss split by simple pattern: what its narrowing loses, and what goes beyond. Dense has no part.

    Args:
        options: as `with_narrowing` gives them.
        losses: (K,) of these, before any rate.
    """
    at = {option.label: index for index, option in enumerate(options)}
    found: list[dict[str, float]] = []
    for option, loss in zip(options, losses.tolist(), strict=True):
        if is_combined(option):
            narrow = min(float(losses[at[width_option(option).label]]), loss)
            found.append({"width": narrow, inner_name(option.pattern): loss - narrow})
        else:
            found.append({} if option.pattern == "dense" else {option.pattern: loss})
    return found
