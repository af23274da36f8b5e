"""Layers and legal options to try patterns on."""

from __future__ import annotations

from math import prod

from hypothesis import strategies as st

from advisor.network import Call, Layer
from advisor.patterns.narrowed import combined, inner_name, thinned
from advisor.patterns.option import DENSE, Option


def layer(kind="conv2d", outputs=8, inputs=8, kernel=(3, 3), groups=1, name="layer", positions=7) -> Layer:
    """A layer with channel counts over all groups, called once with `positions` uses of every weight."""
    if kind == "linear":
        kernel = ()
    if kind.startswith("conv_transpose"):
        shape = (inputs, outputs // groups, *kernel)
    else:
        shape = (outputs, inputs // groups, *kernel)
    macs = prod(shape) * positions
    ones = (1,) * len(kernel)
    return Layer(
        name=name,
        kind=kind,
        params=prod(shape),
        macs=macs,
        activation_elements=outputs * positions,
        input_shape=(1, inputs, *ones),
        output_shape=(1, outputs, *ones),
        calls=(Call(input_shape=(1, inputs, *ones), output_shape=(1, outputs, *ones), macs=macs),),
        weight=f"{name}.weight",
        weight_shape=shape,
        stride=ones,
        padding=(0,) * len(kernel),
        dilation=ones,
        groups=groups,
    )


@st.composite
def layers(draw) -> Layer:
    """Linear, 1d to 3d, transposed, grouped and depthwise layers of few weights."""
    kind = draw(st.sampled_from(["linear", *(f"conv{t}{n}d" for t in ("", "_transpose") for n in (1, 2, 3))]))
    rank = 0 if kind == "linear" else int(kind[-2])
    groups = 1 if kind == "linear" else draw(st.sampled_from([1, 1, 2, 3]))
    inputs = draw(st.sampled_from([1, 2, 4, 5, 8]))
    outputs = draw(st.sampled_from([1, 2, 4, 6, 16]))
    kernel = tuple(draw(st.integers(1, 3)) for _ in range(rank))
    return layer(kind, outputs * groups, inputs * groups, kernel, groups)


def divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]


@st.composite
def option_for(draw, name: str, given: Layer) -> Option | None:
    """A legal option of pattern `name`, or None where the layer has none."""
    if name.startswith("width+"):
        return draw(combined_for(name, given))
    density = draw(st.floats(0.01, 1.0))
    inputs, outputs = given.in_channels // given.groups, given.out_channels // given.groups
    if name == "dense":
        return DENSE
    if name in ("channel", "group", "n:m") and inputs < 2:
        return None
    if name in ("channel", "unstructured"):
        return Option(pattern=name, density=density)
    if name == "group":
        return Option(pattern=name, density=density, parameters={"block": draw(st.sampled_from(divisors(outputs)))})
    if name == "block":
        rows = draw(st.sampled_from(divisors(outputs)))
        columns = draw(st.sampled_from(divisors(inputs * prod(given.kernel))))
        return Option(pattern=name, density=density, parameters={"rows": rows, "columns": columns})
    if name == "n:m":
        m = draw(st.sampled_from(divisors(inputs)))
        n = draw(st.integers(1, m))
        return Option(pattern=name, density=n / m, parameters={"n": n, "m": m})
    if name == "width":
        return width(given, draw(st.integers(1, inputs)), draw(st.integers(1, outputs)))
    raise AssertionError(f"say what a legal option of {name} is, so that the contract can test it")


@st.composite
def combined_for(draw, name: str, given: Layer) -> Option | None:
    """A legal option of width with another pattern within it, or None where the narrowed layer has none."""
    inputs, outputs = given.in_channels // given.groups, given.out_channels // given.groups
    narrow = width(given, draw(st.integers(1, inputs)), draw(st.integers(1, outputs)))
    inner = draw(option_for(inner_name(name), thinned(given, narrow)[0]))
    return None if inner is None else combined(narrow, inner)


def width(given: Layer, inputs: int, outputs: int) -> Option:
    """Narrowed to so many channels per group; a depthwise layer loses groups, which here it does not."""
    kept = inputs * outputs / (given.in_channels // given.groups) / (given.out_channels // given.groups)
    parameters = {"in": 0.5, "out": 0.5, "rounding": "ceil"}
    parameters |= {"in_channels": inputs * given.groups, "out_channels": outputs * given.groups}
    return Option(pattern="width", density=kept, parameters=parameters)
