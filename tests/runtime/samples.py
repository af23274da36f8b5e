"""Layers and executions of every kind."""

from math import prod
from typing import Any

import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import nn

import advisor
from advisor.network import Layer
from advisor.patterns.option import Option
from advisor.runtime.execution import Execution, executions
from advisor.runtime.methods import METHODS

KINDS = [*(f"conv{n}d" for n in (1, 2, 3)), *(f"conv_transpose{n}d" for n in (1, 2, 3)), "linear"]


def layer_of(module: nn.Module, *shape: int) -> Layer:
    return advisor.analyze(nn.Sequential(module), torch.zeros(shape)).sparsifiable[0]


def only(layer: Layer, option: Option, **settings: Any) -> Execution:
    found = executions(layer, option, **settings)
    assert len(found) == 1
    return next(iter(found))


@st.composite
def any_execution(draw: st.DrawFn) -> Execution:
    kind, method = draw(st.sampled_from(KINDS)), draw(st.sampled_from(METHODS))
    turned, spatial = kind.startswith("conv_transpose"), 0 if kind == "linear" else int(kind[-2])
    assume(not (turned and method in ("gather", "direct")) and not (kind == "conv3d" and method == "direct"))
    groups = 1 if kind == "linear" else draw(st.integers(1, 3))
    inputs, outputs = groups * draw(st.integers(1, 5)), groups * draw(st.integers(1, 6))
    sizes = lambda low, high: tuple(draw(st.integers(low, high)) for _ in range(spatial))  # noqa: E731
    kernel, stride, dilation = sizes(1, 3), sizes(1, 3), sizes(1, 2)
    padding = tuple(draw(st.integers(0, (k - 1) // 2)) for k in kernel)
    extra = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)) if turned else ()
    room = tuple(d * (k - 1) + 1 + draw(st.integers(0, 5)) for k, d in zip(kernel, dilation, strict=True))
    weight = (inputs, outputs // groups, *kernel) if turned else (outputs, inputs // groups, *kernel)
    leading = (draw(st.integers(1, 2)),) if spatial else draw(st.sampled_from([(1,), (3,), (2, 3), ()]))
    divided = {"direct": outputs // groups, "gather": outputs // groups, "packed": prod(weight), "dense": 0}[method]
    block = draw(st.sampled_from([b for b in range(1, 7) if divided % b == 0])) if divided else 0
    reach = inputs // groups
    most = {"direct": outputs // (block or 1) * reach, "gather": reach, "packed": prod(weight) // (block or 1)}
    kept = most.get(method, 0)
    kept = draw(st.integers(1, kept)) * (block if method == "packed" else 1) if kept else 0
    return Execution(
        kind=kind,
        method=method,
        input_shape=(*leading, inputs, *room),
        weight_shape=weight,
        stride=stride,
        padding=padding,
        dilation=dilation,
        output_padding=extra,
        groups=groups,
        bias=draw(st.booleans()),
        kept=kept,
        block=block,
    )
