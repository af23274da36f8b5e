"""Layers: each GPU's own fit on held-out shapes, and GPUs left out altogether."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from advisor.devices.gpu.conformal import conformal, coverage
from advisor.devices.gpu.drift import Drift
from advisor.devices.gpu.facts import read_datasheet
from advisor.devices.gpu.layer_fit import Fitted, Known, fit_layers
from advisor.devices.gpu.layer_model import LayerModel
from advisor.devices.gpu.physics import peak_macs_per_ms, roofline_ms
from advisor.devices.gpu.pool_fit import fit_pool, on
from advisor.devices.gpu.shapes import Array
from advisor.devices.gpu.table import to_table
from benchmarks.calibration.figures import figures, one_factor
from benchmarks.calibration.sources import Source

FEW = 500  # rows below which a table borrows from the other GPUs of its kind


def known(source: Source, data: Path) -> Known:
    """A source with its facts."""
    facts = read_datasheet(data / "gpu" / "datasheet.csv", source.device)
    return Known(name=f"{source.device} ({source.table})", table=to_table(source.rows), facts=facts)


def relatives(source: Source, sources: Sequence[Source], data: Path) -> list[Known]:
    """Rows of other GPUs that a fit may borrow from: a small table from the others of its kind, a large one, which has
    one kind of convolution alone, from the small ones, which have many."""
    small = [s for s in sources if s.dtype == source.dtype and len(s.rows) < FEW]
    return [known(other, data) for other in small if other is not source]


def fit_own(source: Source, sources: Sequence[Source], data: Path) -> tuple[Fitted, list[list[str]]]:
    """A GPU's own model and its rows of the table: held out, beside plain models with one factor in sample."""
    mine = known(source, data)
    fitted = fit_layers(mine, relatives(source, sources, data))
    table = mine.table
    drift = fitted.drift(table.order, len(table))
    log, residuals = np.log(fitted.held_out_ms - drift), np.log(table.times / fitted.held_out_ms)
    covered = coverage(residuals, log, fitted.folds)
    label = f"{source.device}, {source.dtype}, {source.table}"
    rows = [figures(f"{label}: this model, shapes held out", fitted.held_out_ms, table.times, covered)]
    if max(fitted.drift.added_ms) > 0:
        clean = np.maximum(table.times - drift, 0.1 * table.times)
        rows.append(figures("  the same, the table's drift taken out of both", fitted.held_out_ms - drift, clean))
    roofline = roofline_ms(table.shapes, mine.facts)
    rows.append(figures("  roofline, one factor", one_factor(roofline, table.times), table.times))
    macs = table.shapes.macs / peak_macs_per_ms(table.shapes, mine.facts)
    rows.append(figures("  MACs alone, one factor", one_factor(macs, table.times), table.times))
    return fitted, rows


def left_out_gpus(
    group: Sequence[Known], drifts: Mapping[str, Drift], *, folds: int = 3, trees: int = 120
) -> tuple[dict[str, Array], list[list[str]]]:
    """Each GPU by a model of the others that saw neither it nor the shape.

    Returns:
        By name: log(time / prediction) without any factor, drift taken out; and rows of the table.
    """
    keys = sorted({key for item in group for key in item.table.shapes.identities()})
    order = np.random.default_rng(0).permutation(len(keys)) % folds
    fold_of = dict(zip(keys, order, strict=True))
    folds_of = {item.name: np.array([fold_of[key] for key in item.table.shapes.identities()]) for item in group}
    residuals: dict[str, Array] = {}
    rows: list[list[str]] = []
    for target in group:
        others = [item for item in group if item.facts.device != target.facts.device]
        table, mine = target.table, folds_of[target.name]
        raw = np.empty(len(table))
        for index in range(folds):
            seen = [folds_of[item.name] != index for item in others]
            model = on(fit_pool(others, drifts, seen, trees=trees), target.facts)
            raw[mine == index] = np.exp(model.log_ms(table.shapes[mine == index])[0])
        drift = drifts.get(target.name, Drift())
        added, clean = drift(table.order, len(table)), drift.without(table.times, table.order)
        residuals[target.name] = np.log(clean / raw)
        scaled = one_factor(raw, clean)
        rows.append(figures(f"{target.name}: no factor, drift taken out", raw, clean))
        rows.append(figures("  one measured factor", scaled + added, table.times, _coverage(clean, raw, mine)))
        if added.any():
            rows.append(figures("  one factor, nothing known of the drift", one_factor(raw, table.times), table.times))
        rows.append(
            figures("  roofline, one factor", one_factor(roofline_ms(table.shapes, target.facts), clean), clean)
        )
    return residuals, rows


def unseen_layers(
    group: Sequence[Known], drifts: Mapping[str, Drift], residuals: Mapping[str, Array], *, trees: int
) -> LayerModel:
    """The model for a GPU that is in no table, its interval as wide as GPUs left out were off."""
    model = fit_pool(group, drifts, [np.ones(len(item.table), dtype=bool) for item in group], trees=trees)
    logs, errors = [], []
    for item in group:
        log = on(model, item.facts).log_ms(item.table.shapes)[0]
        pick = np.random.default_rng(0).permutation(len(log))[:500]  # every GPU says as much
        logs.append(log[pick])
        errors.append(residuals[item.name][pick])
    return on(model, group[0].facts, interval=conformal(np.concatenate(errors), np.concatenate(logs)))


def _coverage(clean: Array, raw: Array, folds: Array) -> float:
    ratio = np.log(clean / raw)
    return coverage(ratio - np.median(ratio), np.log(raw), folds)
