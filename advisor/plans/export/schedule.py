"""`schedule`: how the masks change while the network trains, as data."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
from safetensors.numpy import save

from advisor.errors import PlanError
from advisor.network import Layer
from advisor.patterns.base import pattern
from advisor.patterns.candidates import end_layers
from advisor.patterns.draw import Bools
from advisor.patterns.layout import logical, stored
from advisor.patterns.narrowed import place
from advisor.patterns.option import Option
from advisor.plans.export.exporter import Exported, Exporter, Source, register
from advisor.plans.export.growth import NEVER, Levels, births
from advisor.plans.export.masks import ENDING as MASKS
from advisor.plans.export.provenance import from_json, line_of, provenance
from advisor.plans.export.tensors import KEY, masks_bytes
from advisor.plans.masks import connections_of, kept_by_width
from advisor.plans.match import network_for
from advisor.plans.plan import Plan, PlanLayer
from advisor.plans.schedules import MaskSchedule

BIRTHS = ".births.safetensors"
_CHANNEL = Option(pattern="channel", density=1.0)


@register
class ScheduleExporter(Exporter):
    """A JSON file with the steps at which masks change, and the masks beside it.

    Incremental: `steps` holds (first optimiser step, density) of each level, and the file beside it a uint8 tensor for
    each parameter that grows: the number of the level at which each weight comes to life, 255 for never. The mask at
    level i is `births <= i`. Dense layers grow, too, by pattern `channel`, where the network is given; its image
    convolution and its classifier stay whole, as published.

    Dynamic (set, rigl): `steps` holds (optimiser steps taken, share of the live units that moves), and the masks to
    begin with stand beside it. `drop` and `grow` say which units go and come.
    """

    name = "schedule"
    suffix = ".schedule.json"
    line = "how the masks change while training: incremental, set, rigl (JSON, and masks beside it)"
    scheduled = True

    def export(self, source: Source) -> Exported:
        asked = source.schedule
        assert asked is not None  # `export_plan` has seen to it
        about = provenance(source.plan, self.name)
        made, numbers, notes = _incremental(source, asked, about) if asked.end is None else _dynamic(source, about)
        ending = BIRTHS if asked.end is None else MASKS
        digest = hashlib.sha256(made).hexdigest()
        document = {
            "provenance": about,
            "method": asked.method,
            "every": asked.every,
            **_rules(asked),
            "steps": [list(step) for step in asked.steps],
            "masks": {"file": source.stem + ending, "sha256": digest},
        }
        data = (json.dumps(document, indent=1) + "\n").encode()
        return Exported(data=data, beside={ending: made}, numbers={"steps": len(asked.steps), **numbers}, notes=notes)

    def provenance(self, data: bytes) -> dict[str, Any]:
        return from_json(data, self.name)


def _rules(asked: MaskSchedule) -> dict[str, Any]:
    if asked.end is None:
        return {"start": asked.start, "never": NEVER}
    by = "random" if asked.method == "set" else "largest L1 norm of the dense gradient"
    return {"drop": "smallest L1 norm of the weights", "grow": by, "new_value": 0.0, "end": asked.end}


def _dynamic(source: Source, about: dict[str, Any]) -> tuple[bytes, dict[str, int | float], tuple[str, ...]]:
    if not any(layer.is_masked for layer in source.plan.layers):
        raise PlanError(f"{source.label}: no layer has a mask whose connections could move; plan a masked pattern")
    made = masks_bytes(source.plan, {**about, "format": "sparsity-advisor/masks-1"}, lambda layer: layer.weight)
    notes = tuple(
        f"layer {layer.name}: channels that width takes never come back"
        for layer in source.plan.layers
        if layer.is_narrowed
    )
    return made, {"masked_layers": sum(layer.is_masked for layer in source.plan.layers)}, notes


def _incremental(
    source: Source, asked: MaskSchedule, about: dict[str, Any]
) -> tuple[bytes, dict[str, int | float], tuple[str, ...]]:
    densities = [density for _, density in asked.steps]
    if len(densities) >= NEVER:
        raise PlanError(f"{source.label}: {len(densities)} doublings are too many; expected {NEVER - 1} at most")
    held, notes = {}, []
    ends = None
    if source.module is not None:
        ends = end_layers(network_for(source.plan, source.module, source.example_inputs))
    for layer in source.plan.layers:
        grown = _units(source.plan, layer, ends)
        if grown is None:
            continue
        smaller, option, final = grown
        levels = births(smaller, option, final, seed=layer.seed, densities=densities)
        held[layer.weight] = _in_full(source.plan, layer, levels)
    if not held:
        raise PlanError(
            f"{source.label}: none of its layers is masked, so none would grow; plan a masked pattern, or name the "
            "network (--model), so that dense layers grow, too"
        )
    if ends is None and any(not layer.is_masked for layer in source.plan.layers):
        notes.append("layers that the plan leaves dense do not grow; name the network (--model), and they do")
    data = bytes(save(held, metadata={KEY: line_of({**about, "format": "sparsity-advisor/births-1"})}))
    first = sum(int((levels == 0).sum()) for levels in held.values())
    last = sum(int((levels != NEVER).sum()) for levels in held.values())
    return data, {"growing_layers": len(held), "weights_at_first": first, "weights_at_last": last}, tuple(notes)


def _units(plan: Plan, layer: PlanLayer, ends: dict[str, str] | None) -> tuple[Layer, Option, Bools] | None:
    """What grows in a layer, and its final units; None where it stays as it is."""
    smaller, option = layer.thinned
    if layer.is_masked:
        return smaller, option, connections_of(plan, layer)
    channel = pattern("channel")
    if ends is None or layer.name in ends or channel.problem(smaller, _CHANNEL):
        return None
    return smaller, _CHANNEL, np.ones(channel.unit_shape(smaller, _CHANNEL), dtype=np.bool_)


def _in_full(plan: Plan, layer: PlanLayer, levels: Levels) -> Levels:
    """Levels of the layer that width leaves, in the shape of the dense weight."""
    if not layer.is_narrowed:
        return levels
    smaller, full = layer.thinned[0], layer.layer
    found: Levels = np.full(full.weight_shape, NEVER, dtype=np.uint8)
    kept = kept_by_width(plan, layer)
    for level in np.unique(levels):
        found[stored(place(logical(levels == level, smaller), kept, full), full)] = level
    return found
