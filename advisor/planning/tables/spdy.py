"""SPDY's timing files (Frantar and Alistarh, ICML 2022) as cost tables: times of single layers, without a network.

Such a file knows times and sparsities, and no losses. They come from a file of the user's, or from a prior:

    log        −ln d / L: each layer counts the same, as ERK's losses do under one density (`sensitivity`)
    log-time   −ln d · (the layer's share of the dense time), so that slow layers are worth as much more
    quadratic  (k / (K − 1))² / L for the k-th of K options, densest first: SPDY's own prior (section 3.2) with all of
               its sensitivities 1
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from advisor.devices.tables.rows import read_text
from advisor.devices.tables.spdy_lines import parse
from advisor.errors import PlanError, unknown
from advisor.patterns.option import DENSE, Option
from advisor.planning.table import CostTable
from advisor.planning.tables.rows import Row

Floats = NDArray[np.float64]
_NEAR = 1e-6  # two densities are one

# (densities (K,), the layer's share of the dense time, number of layers) → (K,) losses
_Prior = Callable[[Floats, float, int], Floats]


def _quadratic(densities: Floats, share: float, layers: int) -> Floats:
    rank = np.argsort(np.argsort(-densities, kind="stable"), kind="stable")
    found: Floats = np.square(rank / max(len(densities) - 1, 1)) / layers
    return found


PRIORS: Mapping[str, tuple[_Prior, str]] = {
    "log": (lambda d, share, layers: np.abs(np.log(d)) / layers, "-ln(density), the same for every layer"),
    "log-time": (lambda d, share, layers: np.abs(np.log(d)) * share, "-ln(density) x the layer's share of dense time"),
    "quadratic": (_quadratic, "the square of the option's rank, the same for every layer"),
}


def from_spdy(
    path: str | Path, *, loss: str | Path | None = None, prior: str = "log", pattern: str | None = None
) -> CostTable:
    """See `CostTable.from_spdy`. What the whole network takes beside the layers ("base" - "prunable") is a constant."""
    if prior not in PRIORS:
        raise PlanError(unknown("prior of losses", str(prior), PRIORS))
    file = str(path)
    found = parse(read_text(path), file)
    kind = pattern or ("block" if "block" in Path(path).stem.lower() else "unstructured")
    options: list[tuple[Option, ...]] = []
    times: list[Floats] = []
    for name, rows in found.layers.items():
        made = [
            DENSE if sparsity == 0 else Option(pattern=kind, density=round(1 - sparsity, 9)) for _, _, sparsity in rows
        ]
        for place, option in enumerate(made):
            if option in made[:place]:
                raise PlanError(f"{file} row {rows[place][0]}: layer {name} has sparsity {rows[place][2]:g} again")
        if DENSE not in made:
            raise PlanError(f"{file} row {found.names[name]}: layer {name} has no time at sparsity 0, its dense one")
        options.append(tuple(made))
        times.append(np.array([1e3 * seconds for _, seconds, _ in rows]))
    dense = sum(float(column[choices.index(DENSE)]) for column, choices in zip(times, options, strict=True))
    notes = [f"times of others ({Path(path).name}), each layer timed alone"]
    table = CostTable(
        layers=tuple(found.layers),
        options=tuple(options),
        costs={"latency": tuple(times)},
        loss=tuple(np.zeros(len(column)) for column in times),
        constants={"latency": 1e3 * (found.base - found.prunable)},
        name=Path(path).stem,
    )
    if abs(difference := 1e3 * found.prunable / dense - 1) > 0.01:
        notes.append(f"'prunable' is {difference:+.1%} off the sum of the layers' dense times")
    if loss is not None:
        notes.append(f"losses of {Path(loss).name}")
        return replace(table, loss=_losses(table, loss), notes=tuple(notes))
    estimate, says = PRIORS[prior]
    notes.append(f"losses are a prior ({prior}: {says}), not a measurement; give your own for a plan to trust")
    return replace(
        table,
        loss=tuple(
            estimate(np.array([o.density for o in choices]), float(column[choices.index(DENSE)]) / dense, len(options))
            for choices, column in zip(options, times, strict=True)
        ),
        notes=tuple(notes),
    )


def _losses(table: CostTable, path: str | Path) -> tuple[Floats, ...]:
    """The losses that a CSV gives to the options of a table: `layer`, `density` or `sparsity`, `loss`."""
    from advisor.planning.tables.files import csv_rows

    header, rows = csv_rows(path)
    thin = "density" if "density" in header else "sparsity"
    for column in ("layer", thin, "loss"):
        if column not in header:
            raise PlanError(f"{path} header, column {column}: it is missing, expected layer, density or sparsity, loss")
    found: list[Floats] = [np.full(len(options), np.nan) for options in table.options]
    places = {name: place for place, name in enumerate(table.layers)}
    for row in rows:
        layer = places.get(row.name("layer"))
        if layer is None:
            raise PlanError(f"{row.where}, column layer: {unknown('layer', row.name('layer'), places)}")
        density = _density(row, thin)
        option = next((k for k, o in enumerate(table.options[layer]) if abs(o.density - density) < _NEAR), None)
        if option is None:
            have = ", ".join(f"{o.density:.4g}" for o in table.options[layer][:8])
            raise row.bad(thin, f"an option of layer {table.layers[layer]}: densities {have}, …")
        if not np.isnan(found[layer][option]):
            raise row.bad(thin, "each option once")
        found[layer][option] = row.cost("loss")
    for name, options, losses in zip(table.layers, table.options, found, strict=True):
        if missing := [o.label for o, value in zip(options, losses, strict=True) if np.isnan(value)]:
            raise PlanError(f"{path}: no loss for layer {name}, {missing[0]}; expected one for each option")
    return tuple(found)


def _density(row: Row, column: str) -> float:
    if column == "density":
        return row.number(column, "a density above 0, up to 1", above=0.0, most=1.0)
    return 1 - row.number(column, "a sparsity from 0 up to 1", above=-1e-12, most=1.0)
