"""From the steps of a run to the whole run: what lies between the steps, and how far the sum may be off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from advisor.devices.predicting.predict import interval

if TYPE_CHECKING:
    from advisor.devices.steps.record import Recording
    from advisor.devices.steps.step import Step

# Columns of `Between`: operators that run kernels, views, calls of modules, megabytes made afresh (and freed again),
# and a share of the kernels' own time (what they leave behind in the caches of everything else).
_COLUMNS = ("kernel_us", "view_us", "module_us", "fresh_us_per_mb", "share")
_LEAST = 1e-6  # a variance of errors below which nothing is that certain
_TURNS = 4  # of fitting what is expected of an error


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What of a run the time between its steps goes with."""

    kernels: int
    views: int
    module_calls: int
    fresh_mb: float

    @classmethod
    def of(cls, recording: Recording) -> Counts:
        return cls.of_steps(recording.steps, recording.module_calls)

    @classmethod
    def of_steps(cls, steps: Sequence[Step], module_calls: int) -> Counts:
        views = sum(step.family == "view" for step in steps)
        fresh = sum(s.written_bytes for s in steps if not s.in_place and s.family != "view")
        return cls(kernels=len(steps) - views, views=views, module_calls=module_calls, fresh_mb=fresh / 1e6)

    def row(self, steps_ms: float) -> np.ndarray:
        return np.array([self.kernels / 1e3, self.views / 1e3, self.module_calls / 1e3, self.fresh_mb / 1e3, steps_ms])


@dataclass(frozen=True, slots=True, kw_only=True)
class Between:
    """whole = steps + what Python does between them, all coefficients at least 0; fitted on whole pieces.

    The interval is one of 80 %: log(measured / predicted) / σ lies in [below, above], where σ² = common² +
    single² · Σ shareᵢ² for a run in which step i takes a share of the time: many equal steps err less than one.
    """

    kernel_us: float
    view_us: float
    module_us: float
    fresh_us_per_mb: float
    share: float
    common: float
    single: float
    below: float
    above: float

    def ms(self, counts: Counts, steps_ms: float) -> float:
        """What comes on top of the steps."""
        return float(counts.row(steps_ms) @ self._coefficients())

    def _coefficients(self) -> np.ndarray:
        return np.array([getattr(self, name) for name in _COLUMNS])

    def sigma(self, concentration: float) -> float:
        """`concentration`: Σ shareᵢ², 1 for one step, 1/n for n equal ones."""
        return float(np.sqrt(self.common**2 + self.single**2 * concentration))

    def ends(self, whole_ms: float, concentration: float, *, widened: float = 1.0) -> tuple[float, float]:
        """The 80 % interval around a predicted whole."""
        sigma = self.sigma(concentration) * widened
        return whole_ms * float(np.exp(self.below * sigma)), whole_ms * float(np.exp(self.above * sigma))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def fit_coefficients(counts: Sequence[Counts], steps_ms: np.ndarray, whole_ms: np.ndarray) -> np.ndarray:
    """(5,) non-negative, by least relative squares over pieces whose steps and whole were timed in the same rounds."""
    from scipy.optimize import nnls

    table = np.array([c.row(ms) for c, ms in zip(counts, steps_ms, strict=True)])
    found, _ = nnls(table / whole_ms[:, None], (whole_ms - steps_ms) / whole_ms)
    return np.asarray(found)


def fit_spread(errors: np.ndarray, concentration: np.ndarray) -> tuple[float, float, float, float]:
    """(common, single, below, above) from log(measured / predicted) of left-out pieces.

    Squares of errors on [1, concentration] with non-negative weights, each relative to what is expected of it, so that
    the runs that err most do not speak for all. Extremes are cut off: those of a busy machine must not set the width.
    """
    from scipy.optimize import nnls

    table = np.column_stack([np.ones_like(concentration), concentration])
    expected = np.full(len(errors), max(float((errors**2).mean()), _LEAST))
    common, single = 0.0, 0.0
    for _ in range(_TURNS):
        squared = errors**2 / expected
        squared = np.minimum(squared, np.quantile(squared, 0.95))
        (common, single), _ = nnls(table / expected[:, None], squared)
        expected = np.maximum(common + single * concentration, _LEAST)
    sigma = np.sqrt(expected)
    below, above = interval(errors / sigma)
    return float(np.sqrt(max(common, _LEAST))), float(np.sqrt(single)), below, above


def between(coefficients: np.ndarray, spread: tuple[float, float, float, float]) -> Between:
    """Both fits together."""
    common, single, below, above = spread
    values = dict(zip(_COLUMNS, (float(c) for c in coefficients), strict=True))
    return Between(**values, common=common, single=single, below=below, above=above)
