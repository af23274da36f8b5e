"""Every mask of a plan file from the file alone, with NumPy: the reference for other languages and libraries.

    from plan_masks import masks
    for parameter, mask in masks("plan.json").items(): ...

All patterns, drawn or chosen connections, plain, grouped and transposed layers, width and width with a pattern in it.
`plan-format.md` says the same in words.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]


def masks(path: str | Path) -> dict[str, Bools]:
    """Parameter → which of its weights stay, in the parameter's own shape; all of them for dense layers."""
    plan = json.loads(Path(path).read_text(encoding="utf-8"))
    if plan.get("of_table"):
        raise ValueError("the plan was made from a table of costs, so it has no masks")
    chosen = read_safetensors(Path(path).with_name(plan["connections"]["file"])) if "connections" in plan else {}
    layers = [layer for layer in plan["layers"] if layer["kind"] != "attention"]  # which have no weight of their own
    return {layer["weight"]: mask_of(layer, chosen.get(layer["name"])) for layer in layers}


def mask_of(layer: dict[str, Any], chosen: Bools | None = None) -> Bools:
    """One layer's mask. `chosen`: its entry in the file of connections, where `selection` is not "random"."""
    transposed, groups, shape = "transpose" in layer["kind"], layer["groups"], layer["weight_shape"]
    kernel = tuple(shape[2:])
    # Everything below is in the logical shape: outputs, inputs of a group, *kernel.
    outputs, inputs = (shape[1] * groups, shape[0] // groups) if transposed else (shape[0], shape[1])
    name = layer["pattern"].removeprefix("width+")
    if "width" not in layer["pattern"]:
        logical = _masked(layer, name, layer["density"], outputs, inputs, kernel, chosen)
    else:
        rows, columns = _kept_channels(layer, outputs, inputs * groups)
        kept = rows[:, None] & columns.reshape(groups, inputs).repeat(outputs // groups, axis=0)
        logical = np.zeros((outputs, inputs, *kernel), bool)
        # Each kept row keeps as many inputs as any other, so the kept connections in order are the narrowed weight.
        fewer = int(rows.sum())
        within = (fewer, int(kept.sum()) // fewer)
        if name == "width":
            logical[kept] = True
        else:
            logical[kept] = _masked(layer, name, layer["within"], *within, kernel, chosen).reshape(-1, *kernel)
    if not transposed:
        return logical
    return logical.reshape(groups, -1, inputs, *kernel).swapaxes(1, 2).reshape(shape)


def _masked(
    layer: dict[str, Any],
    name: str,
    density: float,
    outputs: int,
    inputs: int,
    kernel: tuple[int, ...],
    chosen: Bools | None,
) -> Bools:
    """The mask of a pattern in a weight of (outputs, inputs, *kernel)."""
    if name == "dense":
        return np.ones((outputs, inputs, *kernel), bool)
    taps = math.prod(kernel)
    rows, columns, m = layer.get("rows", layer.get("block", 1)), layer.get("columns", 1), layer.get("m", 1)
    # The units that are decided over. A set of them lies along the last axis but one where there are three, else along
    # the last one: each set keeps an equal number.
    units = {
        "channel": (outputs, inputs),
        "group": (outputs // rows, inputs),
        "block": (1, outputs // rows * (inputs * taps // columns)),
        "n:m": (outputs * inputs // m, m, taps),
        "unstructured": (1, outputs * inputs * taps),
    }[name]
    if layer["selection"] != "random":
        if chosen is None:
            raise ValueError(f"layer {layer['name']} has chosen connections, and they are missing")
        kept = np.array(chosen, bool).reshape(units)
    else:
        keys = np.random.PCG64(layer["seed"]).random_raw(math.prod(units)).reshape(units)
        quota = max(1, math.ceil(density * units[1] - 1e-9))
        order = keys.argsort(axis=1, kind="stable")  # ties go to the lower index
        kept = np.zeros(units, bool)
        np.put_along_axis(kept, order[:, :quota], True, axis=1)
    for row, given, taken in layer.get("rewired", []):
        kept[row, given], kept[row, taken] = False, True
    for row in layer.get("dropped", []):
        kept[row] = False
    if name in ("channel", "group"):
        kept = kept.repeat(rows, axis=0).repeat(taps, axis=1)
    elif name == "block":
        kept = kept.reshape(outputs // rows, -1).repeat(rows, axis=0).repeat(columns, axis=1)
    return kept.reshape(outputs, inputs, *kernel)


def _kept_channels(layer: dict[str, Any], outputs: int, inputs: int) -> tuple[Bools, Bools]:
    """Flags over all outputs and over all inputs of a layer that width narrows."""
    flags = np.zeros(outputs, bool), np.zeros(inputs, bool)
    for side, found in zip(("kept_outputs", "kept_inputs"), flags, strict=True):
        if side not in layer:
            raise ValueError(f"layer {layer['name']} does not say which channels width keeps")
        for first, end in layer[side]:
            found[first:end] = True
    return flags


def read_safetensors(path: Path) -> dict[str, Bools]:
    """A safetensors file of bool tensors: 8 bytes of length, a JSON header, then the bytes."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    found = {}
    for name, item in json.loads(data[8:start]).items():
        if name != "__metadata__":
            first, end = item["data_offsets"]
            found[name] = np.frombuffer(data[start + first : start + end], bool).reshape(item["shape"])
    return found
