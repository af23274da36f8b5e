"""Connections that trained weights chose: a safetensors file beside the plan, known by its SHA-256."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from math import prod
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from advisor.errors import PlanError
from advisor.network import Shape
from advisor.patterns.base import pattern
from advisor.plans.plan import Plan, PlanLayer

_HEADER_BYTES = 100 * 1024 * 1024  # what safetensors itself allows for names and shapes


def connections_bytes(plan: Plan) -> tuple[bytes, str]:
    """The file's content and its SHA-256; the same for equal connections.

    Raises:
        PlanError: the plan lacks connections, or they are not those of its layers.
    """
    chosen = _fitting(plan.chosen or {}, _chosen_layers(plan), f"plan for {plan.model!r}:")
    data = save({name: np.ascontiguousarray(chosen[name]) for name in sorted(chosen)})
    return data, hashlib.sha256(data).hexdigest()


def read_connections(plan: Plan, place: Path, name: str, sha256: str) -> Plan:
    """The plan with its chosen connections.

    Args:
        plan: read from the file `place`.
        name: of the file in the same folder.
        sha256: of its content.

    Raises:
        PlanError: not a bare file name, missing, another content, or not the connections that the plan needs.
    """
    label = f"plan {place}"
    if name != Path(name).name or name in ("", ".", "..") or "\\" in name or ":" in name or "\0" in name:
        raise PlanError(f"{label}: connections file {name[:100]!r} is not a bare file name beside the plan")
    layers = _chosen_layers(plan)
    needed = sum(prod(_shape(layer)) for layer in layers.values())
    data = _read(place.parent / name, needed + _HEADER_BYTES, label)
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise PlanError(
            f"{label}: {name} has SHA-256 {found[:12]}…, the plan was written with {sha256[:12]}…; "
            "restore the file or make the plan anew"
        )
    try:
        chosen = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise PlanError(f"{label}: {name} is no safetensors file: {' '.join(str(error).split())[:200]}") from error
    return dataclasses.replace(plan, chosen=_fitting(chosen, layers, f"{label}: {name}"))


def _read(path: Path, limit: int, label: str) -> bytes:
    try:
        if not path.is_file():
            raise PlanError(f"{label}: its connections file {path.name} is not beside it; copy both files together")
        if (size := path.stat().st_size) > limit:
            raise PlanError(f"{label}: {path.name} has {size:,} bytes, the plan's layers need at most {limit:,}")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name that no file system can spell
        raise PlanError(f"{label}: cannot read {path.name!r}: {' '.join(str(error).split())}") from error


def _chosen_layers(plan: Plan) -> dict[str, PlanLayer]:
    return {layer.name: layer for layer in plan.layers if layer.is_chosen}


def _shape(layer: PlanLayer) -> Shape:
    smaller, option = layer.thinned
    return tuple(pattern(option.pattern).unit_shape(smaller, option))


def _fitting(chosen: Mapping[str, np.ndarray], layers: Mapping[str, PlanLayer], label: str) -> dict[str, np.ndarray]:
    """The connections in the layers' order, each of the right type, shape and number."""
    if different := sorted(set(chosen) ^ set(layers)):
        state = "lacks" if different[0] in layers else "holds unexpected"
        raise PlanError(f"{label} {state} connections of layer {different[0][:100]!r}")
    for name, layer in layers.items():
        array, shape = chosen[name], _shape(layer)
        if array.dtype != np.bool_ or array.shape != shape:
            raise PlanError(
                f"{label}: layer {name}: {array.dtype} of shape {array.shape}, expected bool of shape {shape}"
            )
        smaller, option = layer.thinned
        kept = int(array.sum()) * (smaller.weights // prod(shape))
        wanted = pattern(option.pattern).kept_weights(smaller, option)
        if kept != wanted:
            raise PlanError(f"{label}: layer {name}: {kept:,} kept weights, {layer.option.label} keeps {wanted:,}")
    return {name: chosen[name] for name in layers}
