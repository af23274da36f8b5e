"""A step as a row of numbers: what a learner looks at."""

from __future__ import annotations

from math import log, prod
from typing import TYPE_CHECKING

import numpy as np

from advisor.devices.model.shapes import shape_of
from advisor.devices.steps.step import FAMILIES

if TYPE_CHECKING:
    from advisor.devices.steps.step import Step

# glibc hands out pieces from this size on as fresh pages each time, and every first touch of one costs a fault.
_FRESH_BYTES = 32 * 1024 * 1024


def row(step: Step) -> np.ndarray:
    """(F,) float64: logs of work and sizes, and what kind of work it is. `names()` says which column is what."""
    g = shape_of(step)
    moved, macs = step.bytes_moved, step.macs
    fresh = 0 if step.in_place or step.family == "view" else step.written_bytes
    inputs = [prod(shape) for shape in step.inputs] or [0]
    largest = step.inputs[inputs.index(max(inputs))] if step.inputs else ()
    outs = step.outputs[0] if step.outputs else ()
    made = step.execution
    channels = (made.in_channels, made.out_channels) if made else (g.k, g.n)
    values = [
        _log(macs),
        _log(moved),
        _log(step.read_bytes),
        _log(step.written_bytes),
        _log(step.elements),
        _log(macs) - _log(moved) if macs else 0.0,
        _log(fresh / _FRESH_BYTES),
        float(fresh >= _FRESH_BYTES),
        # oneDNN reorders what it convolves into pieces of memory of its own, as large as the tensors.
        _log(4 * max(inputs) / _FRESH_BYTES),
        float(4 * max(inputs) >= _FRESH_BYTES),
        *(_log(v) for v in (g.b, g.m, g.k, g.n, g.taps, g.last, g.width, g.groups, g.block)),
        log(g.kept) if g.kept else 0.0,
        log(g.kept / g.k) if g.kept else 0.0,
        float(g.stride > 1),
        float(g.dilation > 1),
        float(g.native),
        float(g.groups > 1 and g.k == 1),
        *(float(size % step_size != 0) for size in channels for step_size in (8, 16)),
        float(made is not None and made.kind == "linear"),
        float(step.in_place),
        float(len(step.inputs)),
        *(float(step.layouts.count(letter)) for letter in "lse"),
        _log(largest[-1] if largest else 1),
        _log(outs[-1] if outs else 1),
        # A linear layer takes rows of features, however many axes the rows have.
        float(len(made.output_shape if made else outs)),
        _log(prod(step.inputs[1]) if len(step.inputs) > 1 else 0),
        *_window(step),
        *(float(step.family == family) for family in FAMILIES),
    ]
    return np.array(values, dtype=np.float64)


def rows(steps: list[Step]) -> np.ndarray:
    """(S, F)."""
    return np.array([row(step) for step in steps]) if steps else np.zeros((0, len(names())))


def names() -> tuple[str, ...]:
    """What the columns of `row` are."""
    return (
        "macs", "moved", "read", "written", "elements", "intensity", "fresh", "is_fresh", "large", "is_large",
        "b", "m", "k", "n", "taps", "last", "width", "groups", "block", "kept", "density",
        "strided", "dilated", "native", "depthwise", "odd_in_8", "odd_in_16", "odd_out_8", "odd_out_16",
        "linear", "in_place", "tensors", "channels_last", "strides", "expanded", "last_in", "last_out", "rank",
        "second", "window", "step", "first_parameter", *(f"is_{family}" for family in FAMILIES),
    )  # fmt: skip


def _log(value: float) -> float:
    return log(max(value, 1.0))


def _window(step: Step) -> tuple[float, float, float]:
    """Size and step of a pooling's window, and the first number among the arguments (an axis)."""
    numbers = step.parameters
    if step.family == "pool" and numbers:
        pair = len(numbers) >= 4
        return (
            _log(numbers[0] * (numbers[1] if pair else numbers[0])),
            _log(numbers[2] if pair else numbers[min(1, len(numbers) - 1)]),
            0.0,
        )
    return 0.0, 0.0, float(max(min(numbers[0], 8), -8)) if numbers else 0.0
