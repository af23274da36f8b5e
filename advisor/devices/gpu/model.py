"""A GPU as an estimator: layers, single steps and whole networks, each with an interval."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from advisor.devices.gpu.classes import KERNELS, LAYERS, step_classes
from advisor.devices.gpu.columns import by_layers, network_columns
from advisor.devices.gpu.conformal import Interval
from advisor.devices.gpu.facts import ITEM_BYTES, Facts
from advisor.devices.gpu.layer_model import LayerModel
from advisor.devices.gpu.rates import Rates
from advisor.devices.gpu.shapes import from_executions
from advisor.devices.gpu.sparse_layers import SparseTimes, dense_of
from advisor.devices.predicting.estimator import WholeEstimate
from advisor.devices.predicting.predict import Estimate, Origin
from advisor.errors import ProfileError

if TYPE_CHECKING:
    from advisor.devices.steps.record import Recording
    from advisor.devices.steps.step import Step
    from advisor.runtime.execution import Execution

VERSION = 1
_STEP_FACTOR = 1.6  # one operator is known worse than a network, where single errors cancel
_SPARSE_FACTOR = 3.0  # of an interval where no such kernel was measured
_SPARSE_EFFICIENCY = 0.25  # of plain multiply-adds: what kernels for scattered weights reach at best


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuModel:
    """Times on one GPU in one dtype, from coefficients.

    Attributes:
        facts: its datasheet.
        dtype: what products compute in; float32 recordings stand for the same network in this dtype.
        layers: fitted to measured layers; None where the GPU is known by whole networks or its datasheet alone.
        rates: inverse efficiencies of operators.
        network: log(true / predicted) of whole networks.
        fitted: whether the rates were fitted on this GPU; borrowed from another one otherwise.
        graphed: whether `layers` and `sparse` leave out what starting a layer takes.
        sparse: method → times of sparse layers beside dense ones; what is missing is extrapolated.
    """

    facts: Facts
    dtype: str
    layers: LayerModel | None
    rates: Rates
    network: Interval
    fitted: bool
    graphed: bool = False
    sparse: Mapping[str, SparseTimes] = field(default_factory=dict)

    @classmethod
    def from_document(cls, document: Mapping[str, Any], where: str = "model") -> GpuModel:
        """From the `model` object of a profile.

        Raises:
            ProfileError: what is missing or makes no sense.
        """
        if document.get("kind") != "gpu" or document.get("version") != VERSION:
            got = f"kind {document.get('kind')!r}, version {document.get('version')!r}"
            raise ProfileError(f"{where}: {got}; expected kind 'gpu', version {VERSION}: make the profile anew")
        needed = ("facts", "dtype", "layers", "rates", "network", "fitted")
        if missing := [name for name in needed if name not in document]:
            raise ProfileError(f"{where}: {', '.join(missing)} missing; make the profile anew")
        if document["dtype"] not in ITEM_BYTES:
            raise ProfileError(f"{where}/dtype: got {document['dtype']!r}, expected {', '.join(ITEM_BYTES)}")
        for name in ("facts", "rates", "network"):
            if not isinstance(document[name], Mapping):
                raise ProfileError(f"{where}/{name}: got {type(document[name]).__name__}, expected an object")
        facts = Facts.from_document(document["facts"], f"{where}/facts")
        layers = document["layers"]
        return cls(
            facts=facts,
            dtype=document["dtype"],
            layers=LayerModel.from_document(layers, facts, f"{where}/layers") if layers is not None else None,
            rates=Rates.from_document(document["rates"], f"{where}/rates"),
            network=Interval.from_document(document["network"], f"{where}/network"),
            fitted=bool(document["fitted"]),
            graphed=bool(document.get("graphed", False)),
            sparse={
                str(method): SparseTimes.from_document(times, f"{where}/sparse/{method}")
                for method, times in document.get("sparse", {}).items()
            },
        )

    def to_document(self) -> dict[str, Any]:
        """The reverse of `from_document`: plain JSON values."""
        return {
            "kind": "gpu",
            "version": VERSION,
            "facts": self.facts.to_document(),
            "dtype": self.dtype,
            "layers": self.layers.to_document() if self.layers is not None else None,
            "rates": self.rates.to_document(),
            "network": self.network.to_document(),
            "fitted": self.fitted,
            **({"graphed": True} if self.graphed else {}),
            **({"sparse": {m: t.to_document() for m, t in self.sparse.items()}} if self.sparse else {}),
        }

    def layer(self, execution: Execution) -> Estimate:
        """The time of one layer, called alone: launch included.

        Sparse methods that this GPU was not measured on are extrapolated, with an interval to match.
        """
        if execution.method in self.sparse and self.layers is not None:
            return self._beside_dense(execution, self.sparse[execution.method], self.layers)
        if execution.method in ("gather", "direct"):
            return self._sparse(execution)
        packed = 0.0
        if execution.method == "packed":  # kept values scattered into a dense weight first
            packed = 2 * math.prod(execution.weight_shape) * self._item / self._bandwidth * self.rates.of("copy_bytes")
            execution = replace(execution, method="dense", kept=0, block=0)
        if self.layers is not None:
            median, low, high, within = self.layers.times(from_executions([execution], self.dtype))
            origin: Origin = "predicted" if within[0] and not packed else "extrapolated"
            return self._started(median[0] + packed, low[0] + packed, high[0] + packed, origin)
        ms = self.rates.sum_ms(step_classes(step_of(execution), self.facts, self.dtype)) + packed
        return self._around(ms, _STEP_FACTOR, "predicted" if self.fitted and not packed else "extrapolated")

    def step(self, step: Step) -> Estimate:
        """The GPU's time of one operator; 0 for a view."""
        if step.family == "view":
            return _estimate(0.0, 0.0, 0.0, "predicted")
        if step.execution is not None and self.layers is not None:
            return self.layer(step.execution)
        ms = self.rates.sum_ms(step_classes(step, self.facts, self.dtype))
        return self._around(ms, _STEP_FACTOR, "predicted" if self.fitted else "extrapolated")

    def whole(self, recording: Recording) -> WholeEstimate:
        """A network from its recorded steps, bound by the GPU or by the host that starts kernels."""
        counted = recording.counted()
        columns, within = network_columns(counted, self.facts, self.dtype, self.layers)
        gpu, host = self.rates.sum_ms(columns), columns.get(KERNELS, 0.0) * self.rates.launch_ms
        total = max(self.rates.joined_ms(gpu, host), 1e-6)
        parts: dict[str, float] = defaultdict(float)
        if LAYERS in columns:
            parts["layer"] = columns[LAYERS] * self.rates.of(LAYERS)
        for step, count in counted.items():
            classes = step_classes(step, self.facts, self.dtype)
            if LAYERS in columns and by_layers(step):
                classes = {name: value for name, value in classes.items() if name in (KERNELS, "gathered_bytes")}
            parts[step.family] += count * self.rates.sum_ms(classes)
        parts["launch"] = total - gpu
        known = self.fitted or self.layers is not None
        origin: Origin = "predicted" if known and within else "extrapolated"
        around = self._around(total, 1.0, origin)
        return WholeEstimate(
            median_ms=around.median_ms,
            low_ms=around.low_ms,
            high_ms=around.high_ms,
            origin=origin,
            parts={name: value for name, value in parts.items() if value > 0},
        )

    @property
    def _item(self) -> int:
        return ITEM_BYTES[self.dtype]

    @property
    def _bandwidth(self) -> float:
        return self.facts.bandwidth_gb_s * 1e6

    def _started(self, median: float, low: float, high: float, origin: Origin) -> Estimate:
        """A layer's time with what starting it takes, where that is not in it: the longer of the two, about."""
        if not self.graphed:
            return _estimate(median, low, high, origin)
        rates = replace(self.rates, constant_ms=0.0)
        least = rates.launch_ms
        return _estimate(
            rates.joined_ms(median, least), rates.joined_ms(low, least), rates.joined_ms(high, least), origin
        )

    def _beside_dense(self, e: Execution, times: SparseTimes, layers: LayerModel) -> Estimate:
        median, _, _, within = layers.times(from_executions([dense_of(e)], self.dtype))
        ms = float(median[0]) * math.exp(times.log_ratio(e))
        below, above = times.interval(np.array([math.log(ms)]))
        factor = 1.0 if within[0] else 2.0
        low, high = ms * math.exp(factor * below[0]), ms * math.exp(factor * above[0])
        return self._started(ms, low, high, "predicted" if within[0] else "extrapolated")

    def _sparse(self, e: Execution) -> Estimate:
        macs = e.macs / (self.facts.fp32_tflops * 1e9 / 2 * _SPARSE_EFFICIENCY)
        moved = e.bytes_moved / 4 * self._item / self._bandwidth * self.rates.of("copy_bytes")
        return self._around(macs + moved + self.rates.launch_ms, _SPARSE_FACTOR, "extrapolated")

    def _around(self, ms: float, factor: float, origin: Origin) -> Estimate:
        below, above = self.network(np.array([math.log(max(ms, 1e-9))]))
        return _estimate(ms, ms * math.exp(factor * below[0]), ms * math.exp(factor * above[0]), origin)


def step_of(execution: Execution) -> Step:
    """The step that runs a layer forward, in float32."""
    from advisor.devices.steps.step import Step

    written = 4 * math.prod(execution.output_shape)
    return Step(
        target="linear" if execution.kind == "linear" else execution.kind,
        family="layer",
        inputs=(execution.input_shape, execution.weight_shape),
        layouts="cc",
        outputs=(execution.output_shape,),
        parameters=(),
        dtype="float32",
        read_bytes=execution.bytes_moved - written,
        written_bytes=written,
        macs=execution.macs,
        execution=execution,
    )


def _estimate(median: float, low: float, high: float, origin: Origin) -> Estimate:
    return Estimate(median_ms=float(median), low_ms=float(low), high_ms=float(high), origin=origin)
