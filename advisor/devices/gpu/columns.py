"""A network's classes, with its layers by the GPU's own layer model where there is one."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from advisor.devices.gpu.classes import LAYERS, network_classes, step_classes
from advisor.devices.gpu.facts import Facts
from advisor.devices.gpu.layer_model import LayerModel
from advisor.devices.gpu.physics import roofline_ms
from advisor.devices.gpu.shapes import Array, from_executions

if TYPE_CHECKING:
    from advisor.devices.steps.step import Step


def network_columns(
    counted: Counter[Step], facts: Facts, dtype: str, layers: LayerModel | None = None
) -> tuple[dict[str, float], bool]:
    """Classes of a whole network in ms at the datasheet's rates (see `classes`).

    With a layer model forward dense layers are one class, "layers_ms": ms as the model has them, less what starting
    each costs.

    Returns:
        The classes, and whether every layer lies within what the layer model was fitted to.
    """
    if layers is None:
        return network_classes(counted.items(), facts, dtype), True
    mine = {step: count for step, count in counted.items() if by_layers(step)}
    columns = network_classes(((s, n) for s, n in counted.items() if s not in mine), facts, dtype)
    if not mine:
        return columns, True
    ms, within = without_launch(list(mine), layers, dtype)
    counts = np.array(list(mine.values()), dtype=np.float64)
    columns[LAYERS] = float(ms @ counts)
    for step, count in mine.items():  # kernels, and what runs beside the layer's own, stay classes
        for name, value in step_classes(step, facts, dtype).items():
            if name in ("kernels", "gathered_bytes"):
                columns[name] = columns.get(name, 0.0) + count * value
    return columns, bool(within.all())


def by_layers(step: Step) -> bool:
    """Whether a layer model knows this step: a forward dense layer."""
    return step.execution is not None and step.execution.method == "dense" and not step.backward


def without_launch(steps: list[Step], layers: LayerModel, dtype: str) -> tuple[Array, Array]:
    """(R,) ms of layers as they follow each other: what starting one alone costs is counted with the kernels."""
    shapes = from_executions([step.execution for step in steps if step.execution is not None], dtype)
    median, _, _, within = layers.times(shapes)
    launch = layers.physics.launch_ms * math.exp(layers.offset)
    least = np.minimum(median, roofline_ms(shapes, layers.facts) / 2)  # Winograd halves it, and no more
    return np.maximum(median - launch, least), within
