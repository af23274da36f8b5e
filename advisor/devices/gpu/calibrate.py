"""A GPU's profile from a datasheet and perhaps measured layers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np

from advisor.devices.gpu.conformal import Interval, conformal, coverage
from advisor.devices.gpu.facts import Facts
from advisor.devices.gpu.layer_fit import Known, fit_layers, held_out_error, shape_folds
from advisor.devices.gpu.layer_model import LayerModel
from advisor.devices.gpu.model import GpuModel
from advisor.devices.gpu.pool_fit import on
from advisor.devices.gpu.rates import Rates
from advisor.devices.gpu.shapes import Array
from advisor.devices.gpu.table import Table
from advisor.errors import ProfileError

SCHEMA = "sparsity-advisor/profile-1"
LEAST_OWN = 60  # rows from which a model of their own is fitted beside the scaled one
_SETTINGS_DTYPE = {"tf32": "float32"}


@dataclass(frozen=True, slots=True)
class Unseen:
    """What is known about GPUs in general: see `unseen.json`, written by benchmarks/gpu_calibration.py.

    Attributes:
        layers: by dtype, with the interval of a GPU that was in no fit; on no GPU's facts yet.
        rates: by dtype, fitted to whole networks of one GPU.
        network: log(true / predicted) of whole networks by these rates on GPUs that were not in their fit.
        error: dtype to figures of GPUs left out, in percent.
        source: of all of it.
    """

    layers: dict[str, LayerModel]
    rates: dict[str, Rates]
    network: Interval
    error: dict[str, dict[str, float]]
    source: str


@lru_cache(maxsize=1)
def unseen() -> Unseen:
    """Reads what came with the package."""
    import json

    document = json.loads(files("advisor.devices.gpu").joinpath("unseen.json").read_text(encoding="utf-8"))
    nothing = Facts(device="", sm_count=1, boost_mhz=1, fp32_tflops=1, bandwidth_gb_s=1, l2_mb=1)
    return Unseen(
        layers={d: LayerModel.from_document(v, nothing, f"unseen/{d}") for d, v in document["layers"].items()},
        rates={d: Rates.from_document(v, f"unseen/rates/{d}") for d, v in document["rates"].items()},
        network=Interval.from_document(document["network"], "unseen/network"),
        error=document["error"],
        source=document["source"],
    )


def calibrate(
    name: str,
    facts: Facts,
    *,
    table: Table | None = None,
    dtype: str = "float32",
    source: str = "",
    trees: int = 300,
) -> dict[str, Any]:
    """The profile document of a GPU.

    Args:
        name: of the profile.
        facts: its datasheet.
        table: measured layers of it in `dtype`. From 60 rows on a model of their own is fitted and judged on held-out
            shapes beside the model of other GPUs times one factor, and the better one stays; with fewer rows only the
            factor is fitted; None: origin "analytic", with an interval as wide as that model was off on GPUs left out.
        dtype: what products compute in.
        source: where the measurements come from.
        trees: how many to boost.

    Raises:
        ProfileError: too few measurements.
    """
    known = unseen()
    general = on(_nearest(known.layers, dtype), facts)
    notes = [
        "whole networks: operators between the layers and launches take the efficiencies of another GPU's whole "
        "networks (see source); a layer called alone includes what starting it costs"
    ]
    if facts.source:
        notes.append(f"datasheet: {facts.source}"[:2000])
    if table is None:
        layers, error = general, _analytic_error(known, dtype)
        origin, text = "analytic", f"datasheet of {facts.device}; {known.source}"
        notes.append("no measurement of this GPU: the interval is how far the same model was off on GPUs left out")
    else:
        layers, error, remarks = _measured(name, facts, table, general, trees)
        notes += remarks
        origin, text = "calibrated", f"{source or 'measurements given by the user'}; {known.source}"
    model = GpuModel(
        facts=facts,
        dtype=dtype,
        layers=layers,
        rates=_nearest(known.rates, dtype),
        network=known.network,
        fitted=False,
    )
    return document(name, origin, text, model, error, notes)


def document(
    name: str,
    origin: str,
    source: str,
    model: GpuModel,
    error: dict[str, float | int | str] | None,
    notes: list[str],
    *,
    training: bool = False,
) -> dict[str, Any]:
    """A profile that holds coefficients and no measurement. Batch 0 stands for any."""
    return {
        "schema": SCHEMA,
        "name": name,
        "origin": origin,
        "source": source[:2000],
        "created": date.today().isoformat(),
        "machine": {"name": model.facts.device, "flags": [], "cores": 1, "torch": "any", "system": "any"},
        "settings": {
            "device": "cuda",
            "batch": 0,
            "threads": 1,
            "dtype": _SETTINGS_DTYPE.get(model.dtype, model.dtype),
            "training": training,
        },
        "energy": None,
        "error": error,
        "notes": notes,
        "networks": [],
        "measurements": [],
        "unmeasured": [],
        "model": model.to_document(),
    }


def _measured(
    name: str, facts: Facts, table: Table, general: LayerModel, trees: int
) -> tuple[LayerModel, dict[str, float | int | str], list[str]]:
    """The better of a scaled general model and one fitted to these rows, what it was off by, and remarks."""
    if len(table) < 3:
        raise ProfileError(f"profile {name}: {len(table)} measured layers, expected 3 or more; measure some more")
    scaled, scaled_error = _scaled(table, general)
    if len(table) < LEAST_OWN:
        remark = f"too few rows ({len(table)}) for a model of their own: other GPUs' model times one measured factor"
        return scaled, scaled_error, [remark]
    fitted = fit_layers(Known(name=name, table=table, facts=facts), trees=trees)
    drift = fitted.drift(table.order, len(table))
    error = held_out_error(fitted, table.times, drift)
    if float(scaled_error["median_percent"]) < float(error["median_percent"]):
        remark = f"other GPUs' model times one factor beat a fit to these rows ({error['median_percent']} %)"
        return scaled, scaled_error, [remark]
    remarks = []
    if max(fitted.drift.added_ms) > 0:
        error |= _with_drift_removed(fitted.held_out_ms, table.times, drift)
        remarks.append(
            f"the table's times gained {max(fitted.drift.added_ms):.3f} ms from its first row to its last, whatever "
            "the layer: taken out, predictions are those of its beginning; errors are judged with it put back"
        )
    return fitted.model, error, remarks


def _scaled(table: Table, general: LayerModel) -> tuple[LayerModel, dict[str, float | int | str]]:
    """The general model times the median of measured / predicted; judged with the factor from other shapes."""
    log, _ = general.log_ms(table.shapes)
    ratio = np.log(table.times) - log
    fold = shape_folds(table.shapes, min(5, len(set(table.shapes.identities()))))
    residuals = np.empty(len(table))
    for index in np.unique(fold):
        others = ratio[fold != index]
        residuals[fold == index] = ratio[fold == index] - (np.median(others) if len(others) else 0.0)
    interval = conformal(residuals, log) if len(table) >= 20 else general.interval
    offset = float(np.median(ratio))
    error = np.abs(np.expm1(-residuals)) * 100
    figures: dict[str, float | int | str] = {
        "method": "other GPUs' model times one factor from other shapes of this GPU",
        "median_percent": round(float(np.median(error)), 2),
        "mean_percent": round(float(error.mean()), 2),
        "p90_percent": round(float(np.quantile(error, 0.9)), 2),
        "within_20_percent": round(100 * float((error <= 20).mean()), 1),
        "count": len(table),
    }
    if len(table) >= 20:
        figures["coverage_percent"] = round(100 * coverage(residuals, log, fold), 1)
    return replace(general, offset=offset, interval=interval), figures


def _with_drift_removed(held_out: Array, times: Array, drift: Array) -> dict[str, float | int | str]:
    clean, alone = np.maximum(times - drift, 0.1 * times), held_out - drift
    error = 100 * np.abs(alone / clean - 1)
    return {
        "without_drift_median_percent": round(float(np.median(error)), 2),
        "without_drift_within_20_percent": round(100 * float((error <= 20).mean()), 1),
        "drift_ms": round(float(drift.max()), 4),
    }


def _analytic_error(known: Unseen, dtype: str) -> dict[str, float | int | str]:
    return {"method": "layers of GPUs left out of the fit, without a factor", **_nearest(known.error, dtype)}


def _nearest(found: dict[str, Any], dtype: str) -> Any:
    """What was fitted in this dtype, or in the one whose products run on the same units."""
    order = {"float16": ("float16", "bfloat16"), "bfloat16": ("bfloat16", "float16"), "tf32": ("tf32", "float16")}
    for name in (*order.get(dtype, (dtype,)), *sorted(found)):
        if name in found:
            return found[name]
    raise ProfileError(f"nothing is known about {dtype}; the package is incomplete, reinstall it")


def interval_width_percent(interval: Interval) -> float:
    """Half the widest class's interval, in percent; for people."""
    widest = max(a - b for a, b in zip(interval.above, interval.below, strict=True))
    return 100 * math.expm1(widest / 2)
