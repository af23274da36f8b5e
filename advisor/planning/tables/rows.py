"""Rows of layers and options that anyone may have written, to a cost table; every complaint names row and column.

One row per layer and option, in any order. Columns:

    layer     its name
    density   above 0, up to 1
    pattern   optional; what the option is called beside its density, any name
    loss      what the option is estimated to cost, 0 or more
    others    one cost each: params, macs, latency and training_latency (ms), weight_memory (bytes), energy (mJ), or any
              name of one's own, which a budget then limits by a share of dense or a plain number
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from advisor.errors import PlanError
from advisor.patterns.option import DENSE, Option
from advisor.planning.budgets import COSTS
from advisor.planning.table import CostTable

REQUIRED = ("layer", "density", "loss")
UNNAMED = "sparse"  # what an option without a pattern is called
_MOST_NAME = 4096


@dataclass(frozen=True, slots=True)
class Row:
    """One row: `where` names it in complaints ("costs.csv row 3"), `cells` are text or values."""

    where: str
    cells: Mapping[str, Any]

    def bad(self, column: str, expected: str) -> PlanError:
        """The complaint about one cell."""
        got = " ".join(str(self.cells.get(column, "")).split())[:60]
        return PlanError(f"{self.where}, column {column}: got {got!r}, expected {expected}")

    def name(self, column: str, default: str | None = None) -> str:
        """A text without blanks at its ends; `default` for an empty cell, refused where that is None."""
        value = self.cells.get(column, "")
        if isinstance(value, float) and value != value:  # a missing value of a data frame
            value = ""
        text = "" if value is None else " ".join(str(value).split())
        if not text and default is not None:
            return default
        if not text or len(text) > _MOST_NAME:
            raise self.bad(column, "a name")
        return text

    def number(self, column: str, expected: str, *, above: float = -math.inf, most: float = math.inf) -> float:
        """A finite number above `above` and at most `most`."""
        value = self.cells.get(column, "")
        try:
            if isinstance(value, bool | np.bool_) or (isinstance(value, str) and "_" in value):
                raise ValueError
            found = float(value)
        except (TypeError, ValueError, OverflowError):
            raise self.bad(column, expected) from None
        if not (math.isfinite(found) and above < found <= most):
            raise self.bad(column, expected)
        return found

    def cost(self, column: str) -> float:
        """A finite number that is not negative."""
        known = column in COSTS or column == "loss"
        why = "" if known else ", since every column that has no other meaning is a cost"
        return self.number(column, f"a finite number that is not negative{why}", above=math.nextafter(0.0, -1.0))


def table_of(header: Sequence[str], rows: Sequence[Row], name: str, *, file: str) -> CostTable:
    """The cost table of these rows; layers stand in the order in which they appear first.

    Args:
        header: all columns.
        rows: with a cell for each column.
        name: of the table.
        file: in complaints about the whole.

    Raises:
        PlanError: the first thing that is wrong.
    """
    costs = _cost_columns(header, file)
    if not rows:
        raise PlanError(f"{file}: no rows below the header, expected one for each layer and option")
    layers: dict[str, list[tuple[Row, Option]]] = {}
    for row in rows:
        layers.setdefault(row.name("layer"), []).append((row, _option(row)))
    for layer, options in layers.items():
        layers[layer] = _with_dense(layer, options)
    found = layers.values()
    return CostTable(
        layers=tuple(layers),
        options=tuple(tuple(option for _, option in options) for options in found),
        costs={key: tuple(np.array([row.cost(key) for row, _ in options]) for options in found) for key in costs},
        loss=tuple(np.array([row.cost("loss") for row, _ in options]) for options in found),
        name=name,
    )


def _cost_columns(header: Sequence[str], file: str) -> list[str]:
    for column in REQUIRED:
        if column not in header:
            hint = "; density = 1 - sparsity" if column == "density" and "sparsity" in header else ""
            hint = "; put commas between them" if len(header) == 1 and column in header[0] else hint
            raise PlanError(
                f"{file} header, column {column}: it is missing, got {', '.join(header)[:200]}, expected layer, "
                f"density, loss and the costs{hint}"
            )
    costs = [column for column in header if column not in (*REQUIRED, "pattern")]
    if not costs:
        raise PlanError(f"{file} header: no column of a cost, expected at least one, for example latency (ms) or macs")
    if "" in costs:
        raise PlanError(f"{file} header: a column without a name, expected a name for each column")
    if "peak_memory" in costs:
        raise PlanError(
            f"{file} header, column peak_memory: a peak is no sum over layers; leave it out, or give weight_memory"
        )
    return costs


def _option(row: Row) -> Option:
    density = row.number("density", "a density above 0, up to 1", above=0.0, most=1.0)
    pattern = row.name("pattern", default="dense" if density == 1 else UNNAMED)
    if pattern == "dense" and density != 1:
        raise row.bad("density", "1, since the pattern is dense")
    return Option(pattern=pattern, density=density)


def _with_dense(layer: str, options: list[tuple[Row, Option]]) -> list[tuple[Row, Option]]:
    """The layer's options with the one that shares refer to called dense; no option twice."""
    first: dict[tuple[str, float], Row] = {}
    for row, option in options:
        same = first.setdefault((option.pattern, option.density), row)
        if same is not row:
            raise PlanError(
                f"{row.where}: layer {layer} has the option {option.label!r} again, expected each once (first in "
                f"{same.where})"
            )
    if ("dense", 1.0) in first:
        return options
    full = [place for place, (_, option) in enumerate(options) if option.density == 1]
    if len(full) != 1:
        got = f"{len(full)} of density 1 and none of pattern dense" if full else "none of density 1"
        raise PlanError(
            f"{options[full[1] if full else 0][0].where}: layer {layer} has {len(options)} options, {got}, expected "
            "one dense option for shares to refer to; add its row, or write dense into the column pattern"
        )
    return [(row, DENSE if place == full[0] else option) for place, (row, option) in enumerate(options)]
