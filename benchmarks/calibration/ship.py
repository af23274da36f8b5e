"""What the benchmark leaves behind when asked: the model of unseen GPUs, and profiles. Coefficients, never the data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from advisor.devices.gpu import calibrate
from advisor.devices.gpu.conformal import Interval, conformal, coverage
from advisor.devices.gpu.facts import Facts
from advisor.devices.gpu.files import write_compact
from advisor.devices.gpu.layer_fit import Fitted, held_out_error
from advisor.devices.gpu.layer_model import LayerModel
from advisor.devices.gpu.model import GpuModel
from advisor.devices.gpu.rates import Rates
from advisor.devices.gpu.shapes import Array
from advisor.devices.gpu.table import Table
from benchmarks.calibration.sources import Source

# Whole networks elsewhere: the rates of one GPU on another are off by more than on itself.
_ELSEWHERE = 2.0
# log(measured / predicted) of 63 runs of 32 networks on an H100, launched one operator after the other, by the profile
# from its datasheet: where 80 % of them lay (`benchmarks/gpu_networks.py`). Its host starts kernels faster.
_ON_AN_H100 = (-0.601, 0.408)


def unseen_document(
    path: Path, layers: Mapping[str, tuple[LayerModel, dict[str, Any]]], known: Mapping[str, Any], source: str
) -> dict[str, Any]:
    """`advisor/devices/gpu/unseen.json`: what was fitted now, and the rest as it stands there.

    Args:
        path: the file.
        layers: by dtype the model of unseen GPUs and how far it was off.
        known: "inference" and "training": rates, held-out predictions, times and families of one GPU's networks;
            "launches": rates fitted where launches bind.
    """
    before: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    made = {"layers": {}, "rates": {}, "network": None, "error": {}, **before, "source": source}
    for dtype, (model, error) in layers.items():
        made["layers"][dtype], made["error"][dtype] = model.to_document(), error
    if "inference" in known:
        rates, predicted, times, _ = known["inference"]
        inverse = dict(known["training"][0].inverse) if "training" in known else {}
        rates = with_launches(replace(rates, inverse=inverse | dict(rates.inverse)), known.get("launches", []))
        made["rates"] = dict.fromkeys(("float16", "float32"), rates.to_document())
        interval = conformal(np.log(times / predicted), np.log(predicted))
        below, above = _ELSEWHERE * min(interval.below), _ELSEWHERE * max(interval.above)  # other GPUs, other sizes
        made["network"] = Interval((), (min(below, _ON_AN_H100[0]),), (max(above, _ON_AN_H100[1]),)).to_document()
    return made


def with_launches(rates: Rates, fitted: list[Rates]) -> Rates:
    """The same rates with the middle of what starting a kernel cost where that could be seen."""
    seen = [r for r in fitted if r.launch_ms > 0.003]
    if not seen:
        return rates

    def middle(name: str) -> float:
        return float(np.median([getattr(r, name) for r in seen]))

    return replace(rates, launch_ms=middle("launch_ms"), constant_ms=middle("constant_ms"))


def refresh(folder: Path, known: calibrate.Unseen) -> None:
    """Puts today's borrowed rates into profiles whose rates are borrowed."""
    for path in sorted(folder.glob("nvidia-*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        model = document.get("model")
        if model is not None and not model["fitted"]:
            rates = known.rates.get(model["dtype"], known.rates["float32"])
            model["rates"], model["network"] = rates.to_document(), known.network.to_document()
            write_compact(path, document)


def left_out_error(residuals: Mapping[str, Array]) -> dict[str, Any]:
    """Figures of GPUs left out, without any factor: each GPU counts the same."""
    parts = [np.abs(np.expm1(-r)) * 100 for r in residuals.values()]
    return {
        "median_percent": round(float(np.mean([np.median(p) for p in parts])), 2),
        "p90_percent": round(float(np.mean([np.quantile(p, 0.9) for p in parts])), 2),
        "within_20_percent": round(float(np.mean([100 * (p <= 20).mean() for p in parts])), 1),
        "gpus": len(parts),
    }


def layer_profile(
    name: str, source: Source, fitted: Fitted, facts: Facts, table: Table, known: calibrate.Unseen
) -> dict[str, Any]:
    """A profile of a GPU whose layers were measured."""
    rates = known.rates.get(source.dtype, known.rates["float32"])
    drift = fitted.drift(table.order, len(table))
    error = held_out_error(fitted, table.times, drift)
    notes = [
        "layers from the measurements named in source; operators between them and launches take the efficiencies of "
        "another GPU's whole networks, so whole networks have the wider interval",
        f"datasheet: {facts.source}"[:2000],
    ]
    if max(fitted.drift.added_ms) > 0:
        clean = np.maximum(table.times - drift, 0.1 * table.times)
        off = 100 * np.abs((fitted.held_out_ms - drift) / clean - 1)
        error["without_drift_median_percent"] = round(float(np.median(off)), 2)
        error["without_drift_within_20_percent"] = round(100 * float((off <= 20).mean()), 1)
        notes.append(
            f"the table's times gained {max(fitted.drift.added_ms):.3f} ms from its first row to its last, whatever "
            "the layer: taken out, predictions are those of its beginning; errors are judged with it put back"
        )
    model = GpuModel(
        facts=facts, dtype=source.dtype, layers=fitted.model, rates=rates, network=known.network, fitted=False
    )
    return calibrate.document(name, "calibrated", source.source, model, error, notes)


def network_profile(
    name: str,
    facts: Facts,
    dtype: str,
    rates: Rates,
    predicted: Array,
    times: Array,
    families: Array,
    source: str,
    *,
    training: bool,
) -> dict[str, Any]:
    """A profile of a GPU that is known by whole networks."""
    residuals, log = np.log(times / predicted), np.log(predicted)
    off = 100 * np.abs(predicted / times - 1)
    error: dict[str, Any] = {
        "method": "whole networks, architecture families held out",
        "median_percent": round(float(np.median(off)), 2),
        "mean_percent": round(float(off.mean()), 2),
        "p90_percent": round(float(np.quantile(off, 0.9)), 2),
        "within_10_percent": round(100 * float((off <= 10).mean()), 1),
        "within_20_percent": round(100 * float((off <= 20).mean()), 1),
        "coverage_percent": round(100 * coverage(residuals, log, families % 5), 1),
        "count": len(times),
    }
    notes = [
        "single layers are parts of whole networks here, with a wider interval; large batches, so launches hardly show",
        f"datasheet: {facts.source}"[:2000],
    ]
    model = GpuModel(facts=facts, dtype=dtype, layers=None, rates=rates, network=conformal(residuals, log), fitted=True)
    return calibrate.document(name, "calibrated", source, model, error, notes, training=training)


def write(document: dict[str, Any], folder: Path) -> Path:
    """Writes a profile under its name."""
    path = folder / f"{document['name']}.json"
    write_compact(path, document)
    return path
