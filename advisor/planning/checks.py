"""What makes arrays a cost table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from advisor.errors import PlanError
from advisor.patterns.option import Option

if TYPE_CHECKING:
    from advisor.planning.table import CostTable


def completed(table: CostTable) -> dict[str, Any]:
    """Fields that were left out or given as lists: columns as float64 arrays, dense options, empty requirements."""
    dense = table.dense
    if not dense:
        dense = tuple(
            next((k for k, option in enumerate(options) if option.pattern == "dense"), -1) for options in table.options
        )
    return {
        "costs": {key: _columns(columns) for key, columns in table.costs.items()},
        "loss": _columns(table.loss),
        "dense": dense,
        "requires": table.requires or tuple(((),) * len(options) for options in table.options),
    }


def _columns(columns: Sequence[Any]) -> tuple[NDArray[np.float64], ...]:
    return tuple(np.asarray(column, dtype=np.float64) for column in columns)


def check_table(table: CostTable) -> None:
    """Refuses a table with the first thing that is wrong in it, named.

    Raises:
        PlanError: lengths that differ, a duplicate layer or option, a layer without options or without a dense one, a
            cost or loss that is negative, infinite or NaN, options that disagree about the groups they follow.
    """
    count = len(table.layers)
    if count == 0:
        raise PlanError("cost table: no layers; expected at least one layer with a dense option")
    for name, what in (("options", table.options), ("dense", table.dense), ("requires", table.requires)):
        if len(what) != count:
            raise PlanError(f"cost table: {name} has {len(what)} entries, expected one for each of {count} layers")
    seen: set[str] = set()
    for layer, options, dense, needs in zip(table.layers, table.options, table.dense, table.requires, strict=True):
        # One option may stand for several levels of a width group that leave this layer as it is.
        same = [(*_identity(option), pairs) for option, pairs in zip(options, needs, strict=False)]
        if layer in seen:
            raise PlanError(f"cost table: layer {layer!r} appears twice; give each layer one row of options")
        seen.add(layer)
        if len(set(same)) < len(same):
            twice = next(option for option, what in zip(options, same, strict=False) if same.count(what) > 1)
            raise PlanError(f"cost table, layer {layer}: option {twice.label!r} appears twice")
        if not 0 <= dense < len(options):
            raise PlanError(f"cost table, layer {layer}: no dense option; shares of dense need one (density 1)")
    for key, columns in {**table.costs, "loss": table.loss}.items():
        _check_columns(table, key, columns)
    _check_groups(table)


def _identity(option: Option) -> tuple[Any, ...]:
    return option.pattern, option.density, *sorted(option.parameters.items())


def _check_columns(table: CostTable, key: str, columns: tuple[NDArray[np.float64], ...]) -> None:
    if len(columns) != len(table.layers):
        raise PlanError(f"cost table: {key} has {len(columns)} columns, expected one for each layer")
    for layer, options, column in zip(table.layers, table.options, columns, strict=True):
        if column.shape != (len(options),):
            raise PlanError(f"cost table, layer {layer}: {key} has shape {column.shape}, expected ({len(options)},)")
        bad = np.flatnonzero(~(np.isfinite(column) & (column >= 0)))
        if bad.size:
            raise PlanError(
                f"cost table, layer {layer}, option {options[bad[0]].label!r}: {key}={column[bad[0]]}; "
                "expected a finite number that is not negative"
            )


def _check_groups(table: CostTable) -> None:
    followed: set[int] = set()
    for layer, options, needs in zip(table.layers, table.options, table.requires, strict=True):
        if len(needs) != len(options):
            raise PlanError(f"cost table, layer {layer}: requires has {len(needs)} entries for {len(options)} options")
        groups = {group for group, _ in needs[0]}
        followed |= groups
        for option, pairs in zip(options, needs, strict=True):
            if {group for group, _ in pairs} != groups or len(pairs) != len(groups):
                raise PlanError(
                    f"cost table, layer {layer}, option {option.label!r}: follows other width groups than the layer's "
                    "other options; every option names one level of each of them"
                )
            if any(g >= len(table.groups) or not 0 <= v < len(table.groups[g].levels) for g, v in pairs):
                raise PlanError(f"cost table, layer {layer}, option {option.label!r}: no such width group or level")
    if followed != set(range(len(table.groups))):
        idle = next(group.name for g, group in enumerate(table.groups) if g not in followed)
        raise PlanError(f"cost table: no layer follows width group {idle!r}; leave it out")
    for group in table.groups:
        for key, column in {**group.costs, **({"loss": group.loss} if group.loss is not None else {})}.items():
            array = np.asarray(column)
            if array.shape != (len(group.levels),) or not np.all(np.isfinite(array) & (array >= 0)):
                raise PlanError(
                    f"cost table, width group {group.name!r}: {key} must hold {len(group.levels)} finite numbers that "
                    "are not negative"
                )
