"""What runs for an option, and that its name, arithmetic and shape are those of the module that runs."""

import dataclasses
from collections import Counter
from math import prod
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import nn

import advisor
from advisor.errors import PatternError
from advisor.network import Layer
from advisor.patterns.option import DENSE, Option
from advisor.runtime.execution import METHODS, Execution, can_gather, executions, method_of
from advisor.runtime.gather import Gathered
from advisor.runtime.packed import packed_of

KINDS = [*(f"conv{n}d" for n in (1, 2, 3)), *(f"conv_transpose{n}d" for n in (1, 2, 3)), "linear"]
OPTIONS = {
    "dense": DENSE,
    "channel": Option(pattern="channel", density=0.25),
    "group": Option(pattern="group", density=0.25, parameters={"block": 4}),
    "block": Option(pattern="block", density=0.25, parameters={"rows": 2, "columns": 4}),
    "n:m": Option(pattern="n:m", density=0.5, parameters={"n": 2, "m": 4}),
    "unstructured": Option(pattern="unstructured", density=0.25),
    "width": Option(
        pattern="width",
        density=0.25,
        parameters={"in": 0.5, "out": 0.5, "rounding": "ceil", "in_channels": 4, "out_channels": 8},
    ),
}


def layer_of(module: nn.Module, *shape: int) -> Layer:
    return advisor.analyze(nn.Sequential(module), torch.zeros(shape)).sparsifiable[0]


CONV = layer_of(nn.Conv2d(8, 16, 3, stride=2, padding=1), 2, 8, 9, 9)


def only(layer: Layer, option: Option, **settings: Any) -> Execution:
    found = executions(layer, option, **settings)
    assert len(found) == 1
    return next(iter(found))


@pytest.mark.parametrize(
    ("name", "inference", "training"),
    [
        ("dense", "dense", "dense"),
        ("width", "dense", "dense"),
        ("group", "gather", "gather"),
        ("channel", "dense", "packed"),
        ("block", "dense", "packed"),
        ("n:m", "dense", "packed"),
        ("unstructured", "dense", "packed"),
    ],
)
def test_the_method_of_each_pattern(name: str, inference: str, training: str) -> None:
    assert method_of(CONV, OPTIONS[name]) == only(CONV, OPTIONS[name]).method == inference
    assert method_of(CONV, OPTIONS[name], training=True) == only(CONV, OPTIONS[name], training=True).method == training


def test_group_gathers_only_where_a_module_can() -> None:
    turned = layer_of(nn.ConvTranspose2d(8, 16, 3), 1, 8, 5, 5)
    attention = dataclasses.replace(layer_of(nn.Linear(8, 16), 2, 8), is_module=False)
    for layer in (turned, attention):
        assert not can_gather(layer)
        assert method_of(layer, OPTIONS["group"]) == "dense"
        assert method_of(layer, OPTIONS["group"], training=True) == "packed"


def test_a_masked_pattern_takes_the_dense_time_at_inference() -> None:
    dense = only(CONV, DENSE)
    assert {only(CONV, OPTIONS[name]) for name in ("channel", "block", "n:m", "unstructured")} == {dense}
    assert dense.key == "conv2d dense in=2x8x9x9 weight=16x8x3x3 stride=2x2 padding=1x1 dilation=1x1 bias"


def test_what_an_option_changes() -> None:
    dense, gather, packed = (
        only(CONV, OPTIONS[n], training=t) for n, t in (("dense", False), ("group", False), ("n:m", True))
    )
    assert dense.macs == CONV.macs == 2 * 16 * 25 * 8 * 9
    assert gather.macs == CONV.macs // 4
    assert packed.macs == CONV.macs, "the kernel multiplies the zeros"
    assert (gather.kept, gather.block, packed.kept) == (2, 4, 16 * 4 * 9)
    assert dense.stored_values == 16 * 8 * 9
    assert gather.stored_values == 16 * 2 * 9
    assert packed.stored_values == 16 * 4 * 9
    narrow = only(CONV, OPTIONS["width"])
    assert (narrow.input_shape, narrow.weight_shape) == ((2, 4, 9, 9), (8, 4, 3, 3))
    assert narrow.macs == CONV.macs // 4
    assert "kept=2 block=4" in gather.key


def test_bytes_are_read_and_written_once() -> None:
    dense, gather, packed = (
        only(CONV, OPTIONS[n], training=t) for n, t in (("dense", False), ("group", False), ("n:m", True))
    )
    flow = 2 * 8 * 81 + 2 * 16 * 25
    assert dense.bytes_moved == 4 * (flow + 16 * 8 * 9)
    # 4 blocks of 2 inputs: copied (written and read) for 2 images of 81 pixels, and 8 indices of 8 bytes.
    assert gather.bytes_moved == 4 * (flow + 16 * 2 * 9 + 2 * 8 * 162) + 8 * 8
    assert packed.bytes_moved == 4 * (flow + 16 * 4 * 9 + 2 * 16 * 8 * 9) + 8 * 16 * 4 * 9


def test_calls_of_other_shapes_and_batches() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.conv(nn.functional.max_pool2d(self.conv(self.conv(x)), 2))
            return out

    layer = advisor.analyze(Twice(), torch.zeros(2, 4, 8, 8)).layer("conv")
    found = executions(layer, DENSE, batch=5)
    assert Counter({e.input_shape: n for e, n in found.items()}) == {(5, 4, 8, 8): 2, (5, 4, 4, 4): 1}
    assert sum(e.macs * n for e, n in executions(layer, DENSE).items()) == layer.macs
    tokens = layer_of(nn.Linear(8, 16), 2, 3, 8)
    assert only(tokens, OPTIONS["group"], batch=7).input_shape == (7, 3, 8)


def test_depthwise_width_loses_groups() -> None:
    layer = layer_of(nn.Conv2d(8, 8, 3, groups=8), 1, 8, 5, 5)
    parameters = {"in": 0.5, "out": 0.5, "rounding": "ceil", "in_channels": 4, "out_channels": 4}
    made = only(layer, Option(pattern="width", density=0.5, parameters=parameters))
    assert (made.groups, made.weight_shape, made.input_shape) == (4, (4, 1, 3, 3), (1, 4, 5, 5))
    odd = parameters | {"groups": 3}
    with pytest.raises(PatternError, match="does not fit 3 groups"):
        executions(layer, Option(pattern="width", density=0.5, parameters=odd))


@st.composite
def any_execution(draw: st.DrawFn) -> Execution:
    kind, method = draw(st.sampled_from(KINDS)), draw(st.sampled_from(METHODS))
    turned, spatial = kind.startswith("conv_transpose"), 0 if kind == "linear" else int(kind[-2])
    assume(not (turned and method == "gather"))
    groups = 1 if kind == "linear" else draw(st.integers(1, 3))
    inputs, outputs = groups * draw(st.integers(1, 5)), groups * draw(st.integers(1, 6))
    sizes = lambda low, high: tuple(draw(st.integers(low, high)) for _ in range(spatial))  # noqa: E731
    kernel, stride, dilation = sizes(1, 3), sizes(1, 3), sizes(1, 2)
    padding = tuple(draw(st.integers(0, (k - 1) // 2)) for k in kernel)
    extra = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)) if turned else ()
    room = tuple(d * (k - 1) + 1 + draw(st.integers(0, 5)) for k, d in zip(kernel, dilation, strict=True))
    weight = (inputs, outputs // groups, *kernel) if turned else (outputs, inputs // groups, *kernel)
    leading = (draw(st.integers(1, 2)),) if spatial else draw(st.sampled_from([(1,), (3,), (2, 3), ()]))
    block = draw(st.sampled_from([b for b in range(1, 7) if (outputs // groups) % b == 0])) if method == "gather" else 0
    kept = {"gather": inputs // groups, "packed": prod(weight), "dense": 0}[method]
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
        kept=draw(st.integers(1, kept)) if kept else 0,
        block=block,
    )


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(execution=any_execution())
def test_the_built_module_is_what_the_execution_says(execution: Execution) -> None:
    module, x = execution.build()
    assert tuple(x.shape) == execution.input_shape
    y = module(x)
    assert tuple(y.shape) == execution.output_shape
    if execution.method == "gather":
        assert isinstance(module, Gathered)
        assert (module.kept, module.block) == (execution.kept, execution.block)
        weight = module.weight
    elif execution.method == "packed":
        weight = dict(packed_of(module))["weight"] and module.parametrizations.weight.original
    else:
        weight = module.weight
    assert weight.numel() == execution.stored_values
    layer = layer_of(module, *execution.input_shape) if execution.method == "dense" else None
    if layer is not None:
        assert layer.macs == execution.macs
        assert only(layer, DENSE).key == execution.key
    y.sum().backward()
    assert weight.grad is not None
    assert torch.isfinite(y).all()


@settings(max_examples=100, deadline=None)
@given(first=any_execution(), second=any_execution())
def test_keys_name_the_work_and_nothing_else(first: Execution, second: Execution) -> None:
    assert (first == second) == (first.key == second.key)


def test_each_field_is_in_the_key() -> None:
    base = only(CONV, OPTIONS["group"])
    changes: dict[str, Any] = {
        "kind": None,
        "method": None,
        "input_shape": (2, 8, 10, 9),
        "weight_shape": (32, 8, 3, 3),
        "stride": (1, 2),
        "padding": (1, 0),
        "dilation": (1, 2),
        "output_padding": None,
        "groups": None,
        "bias": False,
        "kept": 3,
        "block": 8,
    }
    assert set(changes) == {field.name for field in dataclasses.fields(Execution)}
    keys = {dataclasses.replace(base, **{name: value}).key for name, value in changes.items() if value is not None}
    assert len(keys | {base.key}) == 9


def test_twice_the_same_numbers() -> None:
    for name, training in (("dense", False), ("group", False), ("n:m", True)):
        execution = only(CONV, OPTIONS[name], training=training)
        torch.manual_seed(5)
        before = torch.get_rng_state()
        (one, x), (two, z) = execution.build(), execution.build()
        assert torch.equal(torch.get_rng_state(), before), "torch's own stream is left alone"
        assert torch.equal(one(x), two(z))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "conv4d"}, "unknown kind"),
        ({"method": "magic"}, "unknown method"),
        ({"weight_shape": (16, 8, 3)}, "expected a weight of 4 positive sizes"),
        ({"stride": (1,)}, "expected 2 strides"),
        ({"output_padding": (1,)}, "expected 2 output paddings"),
        ({"groups": 3}, "3 groups do not divide"),
        ({"input_shape": (2, 7, 9, 9)}, "expected an input with 8 channels"),
        ({"method": "gather", "kept": 9, "block": 4}, "9 inputs for blocks of 4 outputs do not fit"),
        ({"method": "gather", "kept": 2, "block": 5}, "blocks of 5 outputs do not fit"),
        ({"method": "packed", "kept": 0}, "0 kept values"),
    ],
)
def test_refuses_what_cannot_run(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PatternError, match=message):
        dataclasses.replace(only(CONV, DENSE), **changes)
