"""Measured times that rise with the kept connections, as the work does.

A plan takes the options that look cheap, and so above all those whose noise was lucky: plans of single medians came out
slower than predicted. Neighbours that were measured under the same layer, method and block know better.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from advisor.devices.predicting.features import sweep_group

if TYPE_CHECKING:
    from advisor.devices.profile import Measurement

_FLOOR = 0.01  # relative error below which no median of a busy machine is


def risen(measured: Mapping[str, Measurement]) -> dict[str, Measurement]:
    """The same measurements, of which those of one sweep never fall while more is kept.

    Where two medians contradict that, they become their mean, weighted by how well each is known; the interval moves
    along, and is widened to what was measured.
    """
    from sklearn.isotonic import IsotonicRegression

    sweeps: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for key, m in measured.items():
        if m.execution.kept:
            sweeps[sweep_group(m.execution)].append(key)
    found = dict(measured)
    for keys in sweeps.values():
        if len(keys) < 2:
            continue
        keys.sort(key=lambda key: measured[key].execution.kept)
        log = np.log([measured[key].median_ms for key in keys])
        spread = [max((measured[k].high_ms - measured[k].low_ms) / 2 / measured[k].median_ms, _FLOOR) for k in keys]
        weights = 1 / np.square(spread)
        kept = [measured[k].execution.kept for k in keys]
        fitted = IsotonicRegression().fit(kept, log, sample_weight=weights).predict(kept)
        for key, before, after in zip(keys, log, fitted, strict=True):
            if not math.isclose(before, after, abs_tol=1e-9):
                found[key] = _moved(measured[key], math.exp(after - before))
    return found


def _moved(m: Measurement, factor: float) -> Measurement:
    return replace(
        m,
        median_ms=m.median_ms * factor,
        low_ms=min(m.low_ms * factor, m.median_ms),
        high_ms=max(m.high_ms * factor, m.median_ms),
    )
