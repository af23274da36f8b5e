"""The time of a layer on one GPU: the formula, times what the trees learned, with an interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from advisor.devices.gpu.conformal import Interval
from advisor.devices.gpu.facts import Facts
from advisor.devices.gpu.features import feature_columns, feature_matrix
from advisor.devices.gpu.physics import Coefficients, physics_ms, work
from advisor.devices.gpu.shapes import Array, Shapes
from advisor.devices.gpu.trees import Trees
from advisor.errors import ProfileError

_WIDENING = 2.0  # of an interval outside the range of what was measured


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerModel:
    """log ms = log(formula) + trees(features) + offset.

    Attributes:
        facts, physics: of this GPU.
        trees: the learned residual; None for the formula alone.
        offset: log of one measured scale factor, 0 without.
        interval: of log(true / predicted).
        low, high: (F,) the features' range among the measured layers, in the matrix's units; beyond it a time counts
            as extrapolated.
    """

    facts: Facts
    physics: Coefficients
    trees: Trees | None
    offset: float
    interval: Interval
    low: tuple[int, ...] = ()
    high: tuple[int, ...] = ()

    def log_ms(self, shapes: Shapes) -> tuple[Array, Array]:
        """(R,) log ms, and (R,) bool: whether the layer lies within what was measured."""
        done = work(shapes, self.facts)
        log = np.log(physics_ms(done, self.physics)) + self.offset
        within = np.ones(len(shapes), dtype=bool)
        if self.trees is not None or self.low:
            matrix = feature_matrix(shapes, self.facts, done, self.physics)
            if self.trees is not None:
                log = log + self.trees(matrix)
            if self.low:
                low, high = np.array(self.low), np.array(self.high)
                slack = 0.05 * (high - low) + 20
                within = np.all((matrix >= low - slack) & (matrix <= high + slack), axis=1)
        return log, within

    def times(self, shapes: Shapes) -> tuple[Array, Array, Array, Array]:
        """(R,) median, low and high in ms, and bool: within what was measured."""
        log, within = self.log_ms(shapes)
        below, above = self.interval(log)
        factor = np.where(within, 1.0, _WIDENING)
        return np.exp(log), np.exp(log + factor * below), np.exp(log + factor * above), within

    def to_document(self) -> dict[str, Any]:
        return {
            "physics": self.physics.to_document(),
            "features": list(_feature_names()),
            "trees": self.trees.to_document() if self.trees is not None else None,
            "offset": round(self.offset, 5),
            "interval": self.interval.to_document(),
            "low": list(self.low),
            "high": list(self.high),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any], facts: Facts, where: str = "layers") -> LayerModel:
        """Raises ProfileError for what does not fit this version."""
        try:
            names, given = document["features"], document["trees"]
            low, high = (tuple(int(x) for x in document[side]) for side in ("low", "high"))
            offset, physics, interval = float(document["offset"]), document["physics"], document["interval"]
        except (KeyError, TypeError, ValueError) as error:
            raise ProfileError(f"{where}: {error} is missing or no number; make the profile anew") from error
        known = list(_feature_names())
        if names != known:
            raise ProfileError(f"{where}: its features are not those of this version; make the profile anew")
        trees = Trees.from_document(given, f"{where}/trees") if given is not None else None
        if (trees is not None and trees.columns != len(known)) or any(
            len(s) not in (0, len(known)) for s in (low, high)
        ):
            raise ProfileError(f"{where}: expected {len(known)} features; make the profile anew")
        return cls(
            facts=facts,
            physics=Coefficients.from_document(physics, f"{where}/physics"),
            trees=trees,
            offset=offset,
            interval=Interval.from_document(interval, f"{where}/interval"),
            low=low,
            high=high,
        )


def _feature_names() -> tuple[str, ...]:
    from advisor.devices.gpu.shapes import from_rows

    row = {
        "kind": "conv2d", "n": 1, "c_in": 1, "c_out": 1, "h": 1, "w": 1, "kh": 1, "kw": 1, "stride": 1, "stride_w": 1,
        "padding": 0, "padding_w": 0, "groups": 1, "dtype": "float32",
    }  # fmt: skip
    shapes = from_rows([row])
    facts = Facts(device="", sm_count=1, boost_mhz=1.0, fp32_tflops=1.0, bandwidth_gb_s=1.0, l2_mb=1.0)
    return tuple(feature_columns(shapes, facts, work(shapes, facts), Coefficients()))
