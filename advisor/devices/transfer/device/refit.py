"""What lies between steps on a machine where few pieces ran: the old machine's, where they do not say otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from advisor.devices.model.sums import Between, between, fit_spread
from advisor.devices.predicting.predict import interval

if TYPE_CHECKING:
    from advisor.devices.suite.table import PieceTimes
    from advisor.devices.transfer.features import Floats

_STRENGTH = 4.0  # pieces that the old machine's coefficients count for


def coefficients_of(known: Between) -> Floats:
    """(5,) as `Between.ms` takes them: for each operator, view, call of a module, megabyte, and a share."""
    return np.array([known.kernel_us, known.view_us, known.module_us, known.fresh_us_per_mb, known.share])


def refit(known: Between, pieces: Sequence[PieceTimes]) -> Floats:
    """(5,) non-negative: by least relative squares over the new machine's pieces, and towards the old machine's times
    one factor, which counts for `_STRENGTH` pieces in the share of a whole that each coefficient makes.
    """
    from scipy.optimize import nnls

    wholes = np.array([piece.whole_ms for piece in pieces])
    kernels = np.array([piece.kernels_ms for piece in pieces])
    table = np.array([p.counts.row(ms) for p, ms in zip(pieces, kernels, strict=True)]) / wholes[:, None]
    left = (wholes - kernels) / wholes
    old = coefficients_of(known)
    expected = table @ old
    factor = max(float(expected @ left / max(float(expected @ expected), 1e-12)), 0.0)
    pull = np.sqrt(_STRENGTH) * np.diag(table.mean(axis=0))
    found, _ = nnls(np.vstack([table, pull]), np.concatenate([left, pull @ (factor * old)]))
    return np.asarray(found)


def widened(known: Between, coefficients: Floats, errors: Floats, concentration: Floats) -> Between:
    """The new `Between`; its interval is never narrower than the old one, which many more pieces drew.

    Args:
        errors: (P,) log(measured / predicted) of pieces left out on the new machine, beside their `concentration`.
    """
    common, single, _, _ = fit_spread(errors, concentration)
    common, single = max(common, known.common), max(single, known.single)
    sigma = np.sqrt(common**2 + single**2 * concentration)
    below, above = interval(errors / sigma)
    return between(coefficients, (common, single, min(below, known.below), max(above, known.above)))
