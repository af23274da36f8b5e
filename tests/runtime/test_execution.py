"""What runs for an option, and that its name, arithmetic and shape are those of the module that runs."""

import dataclasses
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import nn

import advisor
from advisor.errors import PatternError
from advisor.network import Layer
from advisor.patterns.base import pattern
from advisor.patterns.option import DENSE, Option
from advisor.runtime.execution import Execution, canonical, executions
from advisor.runtime.methods import Method
from advisor.runtime.packed import Packed, packed_of
from tests.runtime.samples import any_execution, layer_of, only

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


CONV = layer_of(nn.Conv2d(8, 16, 3, stride=2, padding=1), 2, 8, 9, 9)


def test_a_masked_pattern_takes_the_dense_time_at_inference() -> None:
    dense = only(CONV, DENSE)
    masked = {only(CONV, OPTIONS[name], method="dense") for name in ("channel", "group", "block", "n:m")}
    assert masked == {dense}
    assert dense.key == "conv2d dense in=2x8x9x9 weight=16x8x3x3 stride=2x2 padding=1x1 dilation=1x1 bias"


def work(name: str, method: Method) -> Execution:
    return only(CONV, OPTIONS[name], method=method)


def test_what_an_option_changes() -> None:
    dense, gather, packed = work("dense", "dense"), work("group", "gather"), work("n:m", "packed")
    assert dense.macs == CONV.macs == 2 * 16 * 25 * 8 * 9
    assert gather.macs == CONV.macs // 4
    assert packed.macs == CONV.macs, "the kernel multiplies the zeros"
    assert (gather.kept, gather.block, packed.kept) == (2, 4, 16 * 4 * 9)
    assert dense.stored_values == 16 * 8 * 9
    assert gather.stored_values == 16 * 2 * 9
    assert packed.stored_values == 16 * 4 * 9
    direct, channel = work("group", "direct"), work("channel", "direct")
    assert direct.macs == channel.macs == CONV.macs // 4
    assert direct.stored_values == channel.stored_values == 16 * 2 * 9
    assert (direct.kept, direct.block) == (8, 4), "four blocks read two inputs each"
    assert (channel.kept, channel.block) == (32, 1)
    narrow = only(CONV, OPTIONS["width"])
    assert (narrow.input_shape, narrow.weight_shape) == ((2, 4, 9, 9), (8, 4, 3, 3))
    assert narrow.macs == CONV.macs // 4
    assert "kept=2 block=4" in gather.key


@pytest.mark.parametrize(
    "layer",
    [CONV, layer_of(nn.Conv2d(8, 16, 1), 1, 8, 5, 5), layer_of(nn.Linear(8, 16), 2, 8)],
    ids=["3x3", "1x1", "linear"],
)
@pytest.mark.parametrize("name", ["channel", "block", "n:m", "unstructured"])
def test_what_is_timed_moves_weights_as_the_applied_layer_does(layer: Layer, name: str) -> None:
    option = OPTIONS[name]
    timed, _ = only(layer, option, method="packed").build()
    (_, packed), *_ = packed_of(timed)
    mask = torch.from_numpy(pattern(name).mask(layer, option, seed=1))
    assert packed.unit == Packed(mask).unit
    assert int(packed.mask.sum()) == int(mask.sum())


def test_bytes_are_read_and_written_once() -> None:
    dense, gather, packed = work("dense", "dense"), work("group", "gather"), work("n:m", "packed")
    flow = 2 * 8 * 81 + 2 * 16 * 25
    assert dense.bytes_moved == 4 * (flow + 16 * 8 * 9)
    # 4 blocks of 2 inputs: copied (written and read) for 2 images of 81 pixels, and 8 indices of 8 bytes.
    assert gather.bytes_moved == 4 * (flow + 16 * 2 * 9 + 2 * 8 * 162) + 8 * 8
    channel = work("channel", "packed")
    assert channel.bytes_moved == 4 * (flow + 16 * 2 * 9 + 2 * 16 * 8 * 9) + 8 * 16 * 2  # an index for nine taps
    assert packed.bytes_moved == 4 * (flow + 16 * 4 * 9 + 2 * 16 * 8 * 9) + 8 * 16 * 4 * 9
    # Nothing is copied; 8 inputs of the lists and 5 bounds of them, of 4 bytes each.
    assert work("group", "direct").bytes_moved == 4 * (flow + 16 * 2 * 9) + 4 * (8 + 5)


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
    assert only(tokens, OPTIONS["group"], batch=7).input_shape == (21, 8), "rows of features"


def test_equal_work_has_one_name_whoever_describes_it() -> None:
    option = OPTIONS["group"]
    grouped = only(layer_of(nn.Conv2d(16, 16, 3, groups=2), 1, 16, 9, 9), option, method="direct")
    assert (grouped.groups, grouped.weight_shape, grouped.in_channels) == (1, (16, 16, 3, 3), 16)
    assert grouped.kept == 4 * 2, "four blocks read two of their group's eight inputs"
    line = only(layer_of(nn.Conv1d(8, 16, 3, stride=2, padding=1), 1, 8, 9), option, method="direct")
    assert (line.kind, line.input_shape, line.weight_shape) == ("conv2d", (1, 8, 1, 9), (16, 8, 1, 3))
    assert (line.stride, line.padding, line.dilation) == ((1, 2), (0, 1), (1, 1))
    for found in (grouped, line, only(layer_of(nn.Linear(8, 16), 2, 3, 8), option, method="direct")):
        assert canonical(found) == found
        module, inputs = found.build()
        assert tuple(module(inputs).shape) == found.output_shape


def test_depthwise_width_loses_groups() -> None:
    layer = layer_of(nn.Conv2d(8, 8, 3, groups=8), 1, 8, 5, 5)
    parameters = {"in": 0.5, "out": 0.5, "rounding": "ceil", "in_channels": 4, "out_channels": 4}
    made = only(layer, Option(pattern="width", density=0.5, parameters=parameters))
    assert (made.groups, made.weight_shape, made.input_shape) == (4, (4, 1, 3, 3), (1, 4, 5, 5))
    odd = parameters | {"groups": 3}
    with pytest.raises(PatternError, match="does not fit 3 groups"):
        executions(layer, Option(pattern="width", density=0.5, parameters=odd))


@settings(max_examples=100, deadline=None)
@given(first=any_execution(), second=any_execution())
def test_keys_name_the_work_and_nothing_else(first: Execution, second: Execution) -> None:
    assert (first == second) == (first.key == second.key)


def test_each_field_is_in_the_key() -> None:
    base = work("group", "gather")
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
        ({"method": "direct", "kept": 0, "block": 4}, "0 inputs in 4 blocks do not fit"),
        ({"method": "direct", "kept": 33, "block": 4}, "33 inputs in 4 blocks do not fit"),
        ({"method": "direct", "kept": 2, "block": 5}, "blocks of 5 outputs do not fit"),
        ({"method": "packed", "kept": 0}, "0 kept values"),
        ({"method": "packed", "kept": 12, "block": 9}, "neighbours of 9 do not divide"),
    ],
)
def test_refuses_what_cannot_run(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PatternError, match=message):
        dataclasses.replace(only(CONV, DENSE), **changes)
