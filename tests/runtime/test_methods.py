"""Which methods can run an option, which of them a machine offers, and which one does where nobody measured."""

import dataclasses
from dataclasses import replace

import pytest
from torch import nn

from advisor.network import Layer
from advisor.patterns.option import DENSE, Option
from advisor.runtime.execution import executions
from advisor.runtime.methods import Method, kernels, method_here, method_of, methods_of, stands_alone, ways
from tests.runtime.samples import layer_of

WIDTH = {"in": 0.5, "out": 0.5, "rounding": "ceil", "in_channels": 16, "out_channels": 16}
OPTIONS = {
    "dense": DENSE,
    "width": Option(pattern="width", density=0.25, parameters=WIDTH),
    "channel": Option(pattern="channel", density=0.25),
    "group": Option(pattern="group", density=0.25, parameters={"block": 16}),
    "block": Option(pattern="block", density=0.25, parameters={"rows": 4, "columns": 4}),
    "n:m": Option(pattern="n:m", density=0.5, parameters={"n": 2, "m": 4}),
    "unstructured": Option(pattern="unstructured", density=0.25),
}
NINE = layer_of(nn.Conv2d(32, 32, 3, padding=1), 1, 32, 7, 7)
ONE = layer_of(nn.Conv2d(32, 32, 1, stride=2), 1, 32, 7, 7)
FLAT = layer_of(nn.Linear(32, 32), 1, 32)
DEEP = layer_of(nn.Conv3d(32, 32, 3), 1, 32, 5, 5, 5)
TURNED = layer_of(nn.ConvTranspose2d(32, 32, 2), 1, 32, 5, 5)
ATTENTION = dataclasses.replace(FLAT, is_module=False)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("layer", "name", "expected"),
    [
        (NINE, "dense", ()),
        (NINE, "width", ()),
        (NINE, "channel", ("direct",)),
        (NINE, "group", ("direct", "gather")),
        (NINE, "block", ()),
        (NINE, "n:m", ()),
        (NINE, "unstructured", ()),
        (ONE, "block", ("direct",)),
        (ONE, "n:m", ("direct",)),
        (FLAT, "unstructured", ("direct",)),
        (FLAT, "group", ("direct", "gather")),
        (DEEP, "channel", ()),
        (DEEP, "group", ("gather",)),
        (TURNED, "channel", ()),
        (TURNED, "group", ()),
        (ATTENTION, "channel", ()),
        (ATTENTION, "group", ()),
    ],
)
def test_what_could_run_each_pattern(layer: Layer, name: str, expected: tuple[Method, ...], training: bool) -> None:
    option = OPTIONS[name]
    last = "packed" if training and name not in ("dense", "width") else "dense"
    found = ways(layer, option, training=training)
    assert found == (*expected, last)
    for method in found:
        made = executions(layer, option, training=training, method=method)
        assert [e.method for e in made] == [method]


def test_a_layer_whose_weight_others_use_is_left_in_place() -> None:
    assert [stands_alone(layer) for layer in (NINE, FLAT, TURNED, ATTENTION)] == [True, True, False, False]


def test_kernels_take_the_place_of_gathering_on_the_cpu_and_stand_beside_it_on_a_gpu() -> None:
    group, channel = OPTIONS["group"], OPTIONS["channel"]
    assert methods_of(NINE, group, have=True) == ("direct", "dense")
    assert methods_of(NINE, group, have=False) == ("gather", "dense")
    assert methods_of(NINE, group, training=True, have=True) == ("direct", "packed")
    assert methods_of(NINE, channel, have=False) == ("dense",)
    assert methods_of(NINE, group, device="cuda:1", have=True) == ("direct", "gather", "dense")
    assert methods_of(NINE, channel, device="cuda", have=True) == ("dense",)
    small = Option(pattern="group", density=0.25, parameters={"block": 8})
    assert methods_of(NINE, small, device="cuda", have=True) == ("gather", "dense"), "half of a tile would be empty"


def test_without_a_profile_the_density_and_the_block_decide() -> None:
    sparse, half = OPTIONS["channel"], Option(pattern="channel", density=0.5)
    assert method_of(NINE, sparse, have=True) == method_of(NINE, half, have=True) == "direct"
    assert method_of(NINE, Option(pattern="channel", density=0.75), have=True) == "dense"
    assert method_of(NINE, Option(pattern="channel", density=0.75), training=True, have=True) == "packed"
    assert method_of(NINE, sparse, have=False) == "dense"
    small = Option(pattern="group", density=0.25, parameters={"block": 8})
    assert [method_of(NINE, o, have=False) for o in (OPTIONS["group"], small)] == ["gather", "dense"]
    assert method_of(NINE, OPTIONS["group"], device="cuda", have=True) == "direct"
    assert method_of(NINE, replace(OPTIONS["group"], density=0.5), device="cuda", have=True) == "dense"
    assert method_of(NINE, OPTIONS["group"], device="cuda", have=False) == "gather"


@pytest.mark.parametrize(
    ("name", "recorded", "have", "expected"),
    [
        ("channel", "direct", True, "direct"),
        ("channel", "dense", True, "dense"),
        ("channel", "packed", True, "dense"),
        ("channel", None, True, "direct"),
        ("channel", None, False, "dense"),
        ("group", "gather", True, "gather"),
        ("group", "gather", False, "gather"),
        ("dense", None, True, "dense"),
    ],
)
def test_a_recorded_method_is_obeyed(name: str, recorded: Method | None, have: bool, expected: Method) -> None:
    assert method_here(NINE, OPTIONS[name], recorded, have=have) == (expected, "")


@pytest.mark.usefixtures("no_kernels")
def test_where_kernels_are_missing_the_next_method_runs_and_says_why() -> None:
    assert kernels() == kernels("cuda:0") == ""
    method, why = method_here(NINE, OPTIONS["group"], "direct")
    assert method == "gather"
    assert why == "the sparse kernels that the plan counts on are missing (switched off by a test)"
    assert method_here(NINE, OPTIONS["channel"], "direct", training=True)[0] == "packed"
    method, why = method_here(DEEP, OPTIONS["channel"], "direct", have=True)
    assert (method, why) == ("dense", "a conv3d with pattern 'channel' has no method 'direct' on cpu")


@pytest.mark.usefixtures("with_kernels")
def test_this_machine_is_asked_where_nobody_says() -> None:
    assert kernels() == "test 1"
    assert method_of(NINE, OPTIONS["channel"]) == "direct"
    assert methods_of(NINE, OPTIONS["channel"]) == ("direct", "dense")
