"""A GPU's profile from its own suite: measured pieces of networks, their layers alone, and sparse layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize

from advisor.devices.gpu.calibrate import document, unseen
from advisor.devices.gpu.classes import KERNELS
from advisor.devices.gpu.columns import network_columns
from advisor.devices.gpu.conformal import conformal, coverage
from advisor.devices.gpu.facts import Facts
from advisor.devices.gpu.layer_fit import Known, fit_layers, held_out_error
from advisor.devices.gpu.model import GpuModel
from advisor.devices.gpu.rates import Rates, fit_rates, joined
from advisor.devices.gpu.shapes import Array, from_executions
from advisor.devices.gpu.sparse_layers import LEAST, SparseTimes, dense_of, fit_sparse
from advisor.devices.gpu.table import Table
from advisor.errors import ProfileError

if TYPE_CHECKING:
    from advisor.devices.gpu.layer_model import LayerModel
    from advisor.devices.settings import Machine, Settings
    from advisor.devices.steps.step import Step
    from advisor.runtime.execution import Execution

_FEWEST_LAYERS = 60
_FIRMNESS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPiece:
    """A small network that ran: `eager_ms` launched one kernel after the other, `graph_ms` from a CUDA graph."""

    family: str
    counted: Counter[Step]
    eager_ms: float
    graph_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnLayers:
    """Layer → ms from a CUDA graph."""

    dense: Mapping[Execution, float]
    sparse: Mapping[Execution, float]


def own_profile(
    name: str,
    facts: Facts,
    dtype: str,
    pieces: Sequence[OwnPiece],
    layers: OwnLayers,
    *,
    settings: Settings,
    machine: Machine,
    source: str,
    notes: Sequence[str] = (),
    trees: int = 300,
) -> dict[str, Any]:
    """Fits the layer model, the rates of all operators and the host's part, and judges them on families left out.

    Args:
        facts: the GPU's rates.
        dtype: as `facts.ITEM_BYTES` names it.
        pieces: at least 20 of at least 3 families.
        layers: at least 60 dense ones.

    Returns:
        The profile's document.

    Raises:
        ProfileError: fewer than that.
    """
    if len(layers.dense) < _FEWEST_LAYERS:
        raise ProfileError(
            f"profile {name}: {len(layers.dense)} measured layers, expected {_FEWEST_LAYERS} or more; give it more "
            "--budget-seconds"
        )
    executions = list(layers.dense)
    table = Table(shapes=from_executions(executions, dtype), times=np.array([layers.dense[e] for e in executions]))
    fitted = fit_layers(Known(name=name, table=table, facts=facts), trees=trees)
    judged = held_out_error(fitted, table.times, np.zeros(len(table)))
    columns = [network_columns(piece.counted, facts, dtype, fitted.model)[0] for piece in pieces]
    eager, graph = (np.array([getattr(p, key) for p in pieces]) for key in ("eager_ms", "graph_ms"))
    families = np.unique([piece.family for piece in pieces], return_inverse=True)[1]
    whole, gpu = _left_out(columns, eager, graph, families)
    residuals = np.log(eager / whole)
    sparse, sparse_error = _sparse(layers.sparse, fitted.model, dtype)
    model = GpuModel(
        facts=facts,
        dtype=dtype,
        layers=fitted.model,
        rates=_rates(columns, eager, graph),
        network=conformal(residuals, np.log(whole)),
        fitted=True,
        graphed=True,
        sparse=sparse,
    )
    error: dict[str, Any] = {
        "method": f"{len(pieces)} pieces of networks, each predicted by rates that saw none of its kind",
        **_figures("", whole, eager),
        "coverage_percent": round(100 * coverage(residuals, np.log(whole), families % 5), 1),
        **_figures("graph_", gpu, graph),
        **{f"layer_{key}": value for key, value in judged.items() if key != "method"},
        **sparse_error,
    }
    made = document(name, "calibrated", source, model, error, [*_NOTES, *notes][:100])
    given = {key: value for key, value in asdict(settings).items() if value != "" and value is not False}
    made["settings"] |= given
    made["machine"] = asdict(machine) | {"flags": list(machine.flags)}
    return made


_NOTES = (
    "a whole network is launched one operator after the other, as torch does by itself; replayed from a CUDA graph it "
    "takes its time less the part called launch",
    "layers stand for what the GPU takes, or for what starting them takes where that is longer",
)


def _rates(columns: Sequence[Mapping[str, float]], eager: Array, graph: Array) -> Rates:
    """Rates of the GPU from the graphs, in which nothing is launched; then the host's part from the eager times."""
    start = replace(_borrowed(), launch_ms=0.0, constant_ms=0.0)
    rates = fit_rates(columns, graph, base=start, firmness=_FIRMNESS)
    sums = np.array([rates.sum_ms(row) for row in columns])
    kernels = np.array([row.get(KERNELS, 0.0) for row in columns])
    goal = np.log(eager)

    def off(x: Array) -> float:
        launch, constant, p = np.exp(x)
        error = np.log(joined(sums, launch * kernels, p) + constant) - goal
        return float(np.log1p((error / 0.1) ** 2).sum()) + 0.1 * float((x[2] - np.log(3.0)) ** 2)

    least = float(np.min(eager / np.maximum(kernels, 1)))
    starts = [np.log([least * f, 0.02, 3.0]) for f in (0.7, 1.0, 1.5)]
    best = min((minimize(off, s, method="Nelder-Mead", options={"maxiter": 600}) for s in starts), key=lambda r: r.fun)
    launch, constant, sharpness = map(float, np.exp(best.x))
    return replace(rates, launch_ms=launch, constant_ms=constant, sharpness=float(np.clip(sharpness, 1.0, 10.0)))


def _borrowed() -> Rates:
    known = unseen().rates
    return known.get("float32") or next(iter(known.values()))


def _left_out(
    columns: Sequence[Mapping[str, float]], eager: Array, graph: Array, families: Array
) -> tuple[Array, Array]:
    """(N,) eager and graph ms of each piece by rates that saw none of its family."""
    whole, gpu = np.empty(len(eager)), np.empty(len(eager))
    for family in np.unique(families):
        out = families == family
        rates = _rates([c for c, gone in zip(columns, out, strict=True) if not gone], eager[~out], graph[~out])
        whole[out] = [rates.whole_ms(c) for c, gone in zip(columns, out, strict=True) if gone]
        gpu[out] = [rates.sum_ms(c) for c, gone in zip(columns, out, strict=True) if gone]
    return whole, gpu


def _sparse(
    measured: Mapping[Execution, float], layers: LayerModel, dtype: str
) -> tuple[dict[str, SparseTimes], dict[str, Any]]:
    """A model for each method that was measured often enough, and how far it was off."""
    found: dict[str, SparseTimes] = {}
    error: dict[str, Any] = {}
    for method in ("direct", "gather"):
        executions = [e for e in measured if e.method == method]
        if len(executions) < LEAST:
            continue
        ms = np.array([measured[e] for e in executions])
        dense = layers.times(from_executions([dense_of(e) for e in executions], dtype))[0]
        found[method], residuals = fit_sparse(executions, ms, dense)
        off = 100 * np.abs(np.expm1(-residuals))
        error[f"{method}_median_percent"] = round(float(np.median(off)), 2)
        error[f"{method}_over_dense"] = round(float(np.median(ms / dense)), 2)
        error[f"{method}_count"] = len(executions)
    return found, error


def _figures(mark: str, predicted: Array, measured: Array) -> dict[str, float]:
    off = 100 * np.abs(predicted / measured - 1)
    return {
        f"{mark}median_percent": round(float(np.median(off)), 2),
        f"{mark}p90_percent": round(float(np.quantile(off, 0.9)), 2),
        f"{mark}within_10_percent": round(100 * float((off <= 10).mean()), 1),
        f"{mark}within_20_percent": round(100 * float((off <= 20).mean()), 1),
        f"{mark}count": len(measured),
    }
