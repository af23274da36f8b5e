"""Narrowed and sparse at once: a masked pattern within the channels that width leaves.

Changpinyo, Sandler and Zhmoginov (2017, section 4) train networks of width 0.5 with a density of 0.01 in them. The name
of such a pattern is "width+channel"; its parameters are those of both, and `within`, the density in the narrowed layer.
`density` is the product of both shares, so that it says what is kept of the whole layer, as everywhere.

Everything that concerns the inner pattern is asked of the narrowed layer: `thinned` gives that layer with the inner
option. The channels that stay are decided for coupled layers together, so a plan's connections count within them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from advisor.errors import PatternError
from advisor.network import Call, Layer, Shape
from advisor.patterns.draw import Bools, Floats
from advisor.patterns.layout import inputs_of, logical_shape
from advisor.patterns.option import DENSE, Option

PREFIX = "width+"
WITHIN = "within"
WIDTH_PARAMETERS = ("in", "out", "rounding", "in_channels", "out_channels", "groups")


def is_narrowed(option: Option) -> bool:
    """Whether the option leaves fewer channels: width, alone or with another pattern."""
    return option.pattern == "width" or option.pattern.startswith(PREFIX)


def is_combined(option: Option) -> bool:
    return option.pattern.startswith(PREFIX)


def inner_name(name: str) -> str:
    """The masked pattern of a name: "channel" of "width+channel" and of "channel"; "dense" of "width"."""
    return "dense" if name == "width" else name.removeprefix(PREFIX)


def inner_option(option: Option) -> Option:
    """What is masked in the layer that width leaves: the option itself without width, DENSE for width alone."""
    if option.pattern == "width":
        return DENSE
    if not is_combined(option):
        return option
    own = {k: v for k, v in option.parameters.items() if k != WITHIN and k not in WIDTH_PARAMETERS}
    return Option(pattern=inner_name(option.pattern), density=float(option.parameters[WITHIN]), parameters=own)


def width_option(option: Option) -> Option:
    """The narrowing of an option: DENSE where it keeps all channels."""
    if not is_combined(option):
        return option if option.pattern == "width" else DENSE
    own = {k: v for k, v in option.parameters.items() if k in WIDTH_PARAMETERS}
    return Option(pattern="width", density=option.density / float(option.parameters[WITHIN]), parameters=own)


def combined(width: Option, inner: Option) -> Option:
    """Both at once. `inner` is an option of the narrowed layer (`thinned(layer, width)[0]`)."""
    parameters: dict[str, Any] = {**width.parameters, **inner.parameters, WITHIN: inner.density}
    return Option(pattern=PREFIX + inner.pattern, density=width.density * inner.density, parameters=parameters)


def thinned(layer: Layer, option: Option) -> tuple[Layer, Option]:
    """The layer as width leaves it, and the option that is masked in it. Cheap where nothing is narrowed.

    Raises:
        PatternError: the channels that are left do not fit the groups.
    """
    if not is_narrowed(option):
        return layer, option
    shape, groups = narrowed_shape(layer, option)
    smaller = replace(layer, weight_shape=shape, groups=groups)
    inputs, outputs = smaller.in_channels, smaller.out_channels
    axis = -1 - len(layer.kernel)
    positions = layer.activation_elements // layer.out_channels
    return replace(
        smaller,
        params=smaller.weights + (outputs if layer.bias else 0) if layer.params else 0,
        macs=layer.macs * smaller.weights // layer.weights,
        activation_elements=positions * outputs,
        input_shape=_resized(layer.input_shape, axis, inputs),
        output_shape=_resized(layer.output_shape, axis, outputs),
        calls=tuple(
            Call(
                input_shape=_resized(call.input_shape, axis, inputs),
                output_shape=_resized(call.output_shape, axis, outputs),
                macs=call.macs * smaller.weights // layer.weights,
            )
            for call in layer.calls
        ),
    ), inner_option(option)


def _resized(shape: Shape, axis: int, channels: int) -> Shape:
    if not shape:
        return shape
    place = len(shape) + axis
    return (*shape[:place], channels, *shape[place + 1 :])


def narrowed_shape(layer: Layer, option: Option) -> tuple[Shape, int]:
    """The stored weight's shape and the number of groups once width is applied.

    Raises:
        PatternError: the channels that are left do not fit the groups.
    """
    inputs = int(option.parameters.get("in_channels", layer.in_channels))
    outputs = int(option.parameters.get("out_channels", layer.out_channels))
    depthwise = layer.groups > 1 and layer.groups == layer.in_channels
    groups = int(option.parameters.get("groups", inputs if depthwise else layer.groups))
    if min(inputs, outputs, groups) < 1 or inputs % groups or outputs % groups:
        raise PatternError(
            f"layer {layer.name}: width with {inputs} inputs and {outputs} outputs does not fit {groups} groups; "
            "choose counts that the groups divide"
        )
    if layer.transposed:
        return (inputs, outputs // groups, *layer.kernel), groups
    return (outputs, inputs // groups, *layer.kernel), groups


def place(weights: Bools, kept: Bools, layer: Layer) -> Bools:
    """Flags of a narrowed layer's logical weight in the full one's.

    Args:
        weights: (outputs, inputs of a group, *kernel) of the narrowed layer.
        kept: (outputs, inputs of a group) of the full layer: the connections that width keeps; every kept output keeps
            equally many inputs, so that the kept ones in order are the narrowed layer's.
        layer: the full one.
    """
    full = np.zeros(logical_shape(layer), dtype=np.bool_)
    full[kept] = weights.reshape(-1, *layer.kernel)
    return full


def take(values: Floats, kept: Bools, smaller: Layer) -> Floats:
    """The narrowed layer's logical weight out of the full one's; the reverse of `place`."""
    found: Floats = values[kept].reshape(logical_shape(smaller))
    return found


def kept_connections(inputs: Bools, outputs: Bools, layer: Layer) -> Bools:
    """(outputs, inputs of a group): what width keeps, from flags over all input and output channels."""
    columns = np.repeat(inputs.reshape(layer.groups, inputs_of(layer)), layer.out_channels // layer.groups, axis=0)
    found: Bools = outputs[:, None] & columns
    return found


def implied(names: Sequence[str]) -> tuple[str, ...]:
    """The names with what a combined one stands on: the pattern at full width, and width for the layers beside it."""
    found: dict[str, None] = {}
    for name in names:
        if name.startswith(PREFIX):
            found |= dict.fromkeys((inner_name(name), "width"))
        found[name] = None
    return tuple(found)
