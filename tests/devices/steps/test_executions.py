"""A step names the layer that it is as profiles and plans do."""

from math import prod
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import advisor
from advisor.devices.model.rows import row
from advisor.devices.model.steps_of import step_of
from advisor.devices.steps.record import record_steps
from advisor.patterns.option import DENSE, Option
from advisor.runtime.execution import Execution, canonical, executions
from advisor.runtime.sparse import sparse
from advisor.runtime.standalone import lists_of
from tests.devices.steps.networks import networks, steps_of

LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "plain": (nn.Conv2d(3, 8, 3, 2, 1), (2, 3, 9, 9)),
    "no bias": (nn.Conv2d(4, 8, (1, 3), padding=(0, 2), dilation=(1, 2), bias=False), (1, 4, 7, 9)),
    "same": (nn.Conv2d(4, 8, 3, padding="same"), (1, 4, 7, 9)),
    "valid": (nn.Conv2d(4, 8, 3, padding="valid"), (1, 4, 7, 9)),
    "grouped": (nn.Conv2d(8, 12, 3, groups=4), (1, 8, 6, 6)),
    "depthwise": (nn.Conv2d(8, 8, 5, padding=2, groups=8), (1, 8, 6, 6)),
    "line": (nn.Conv1d(4, 8, 3, 2, 1), (2, 4, 10)),
    "cube": (nn.Conv3d(2, 4, 3, padding=1), (1, 2, 4, 5, 6)),
    "up": (nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2), (1, 4, 5, 5)),
    "up a line": (nn.ConvTranspose1d(4, 6, 4, 2), (1, 4, 5)),
    "linear": (nn.Linear(8, 5), (3, 8)),
    "tokens": (nn.Linear(8, 5, bias=False), (2, 7, 8)),
}


def sparse_conv(**changes: Any) -> Execution:
    values: dict[str, Any] = {
        "kind": "conv2d", "method": "direct", "input_shape": (1, 8, 6, 6), "weight_shape": (16, 8, 3, 3),
        "stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "kept": 12, "block": 4, "bias": True,
    }  # fmt: skip
    return Execution(**(values | changes))


def sparse_linear() -> Execution:
    return Execution(
        kind="linear", method="direct", input_shape=(1, 32), weight_shape=(24, 32), kept=40, block=8, bias=True
    )


@pytest.mark.parametrize("name", LAYERS)
def test_a_dense_layer_is_what_the_network_s_analysis_calls_it(name: str) -> None:
    module, shape = LAYERS[name]
    (layer,) = advisor.analyze(nn.Sequential(module), torch.zeros(shape)).sparsifiable
    found = [s for s in steps_of(nn.Sequential(module), torch.zeros(shape)) if s.family == "layer"]
    assert [s.execution for s in found] == list(executions(layer, DENSE))
    assert sum(s.macs for s in found) == layer.macs


@pytest.mark.parametrize("name", [n for n in LAYERS if n not in ("same", "valid")])
def test_and_its_step_made_up_is_the_one_seen(name: str) -> None:
    module, shape = LAYERS[name]
    (seen,) = (s for s in steps_of(nn.Sequential(module), torch.zeros(shape)) if s.family == "layer")
    assert seen.execution is not None
    assert row(step_of(seen.execution)).tolist() == row(seen).tolist()


SPARSE = {
    "conv": sparse_conv(),
    "conv of single outputs": sparse_conv(kept=30, block=1, bias=False),
    "strided": sparse_conv(stride=(2, 2), input_shape=(3, 8, 9, 7)),
    "linear": sparse_linear(),
}


@pytest.mark.parametrize("name", SPARSE)
def test_a_sparse_layer(name: str, compiled: None) -> None:
    wanted = SPARSE[name]
    module, inputs = wanted.build()
    (seen,) = (s for s in steps_of(module, inputs) if s.family != "view")
    assert seen.execution == wanted
    assert seen.macs == wanted.macs
    assert seen.key == step_of(wanted).key
    assert row(step_of(wanted)).tolist() == row(seen).tolist()


@pytest.mark.parametrize(
    ("module", "shape"),
    [(nn.Conv2d(8, 16, 3, padding=1, groups=2), (1, 8, 6, 6)), (nn.Conv1d(8, 16, 3, padding=1), (2, 8, 9)),
     (nn.Linear(8, 16), (2, 5, 8))],
)  # fmt: skip
def test_groups_lines_and_tokens_have_the_key_that_a_profile_gives_them(
    module: Any, shape: tuple[int, ...], compiled: None
) -> None:
    (layer,) = advisor.analyze(nn.Sequential(module), torch.zeros(shape)).sparsifiable
    option = Option(pattern="group", density=0.5, parameters={"block": 4})
    (wanted,) = executions(layer, option, method="direct")
    groups, reach = layer.groups, layer.weight_shape[1]
    given = Execution(
        kind=layer.kind, method="direct", input_shape=shape, weight_shape=layer.weight_shape, stride=layer.stride,
        padding=layer.padding, dilation=layer.dilation, groups=groups, bias=True, kept=wanted.kept, block=4,
    )  # fmt: skip
    assert canonical(given) == wanted
    assert wanted.kept <= 16 // 4 * reach
    made = sparse(module, *lists_of(given), 4, method="direct")
    (seen,) = (s for s in steps_of(made, torch.zeros(shape)) if s.family == "layer")
    assert seen.execution == wanted


@pytest.mark.parametrize("name", sorted(networks()))
def test_macs_are_those_that_the_analysis_counts(name: str) -> None:
    module, inputs = networks()[name]
    steps = record_steps(module.eval(), inputs).steps
    assert sum(s.macs for s in steps) == advisor.analyze(module, inputs).macs


def test_gradients_of_a_convolution_take_a_product_each() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3, groups=2)).train()
    steps = record_steps(net, (torch.zeros(2, 3, 8, 8),), training=True).steps
    forward = [s.macs for s in steps if s.target == "convolution" or s.target == "conv2d"]
    back = [s.macs for s in steps if s.target == "convolution_backward"]
    assert back == [2 * forward[1], forward[0]]  # the image needs no gradient


@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 6), st.integers(1, 7))
@settings(max_examples=20, deadline=None)
def test_products_count_their_inner_size(b: int, m: int, k: int, n: int) -> None:
    class Product(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Any:
            return x @ y, x[0] @ y[0]

    steps = steps_of(Product(), torch.zeros(b, m, k), torch.zeros(b, k, n))
    assert [s.macs for s in steps if s.family == "product"] == [b * m * k * n, m * k * n]
    assert prod(steps[-1].outputs[0]) == m * n


def test_an_image_without_a_batch_is_no_execution() -> None:
    (step,) = (s for s in steps_of(nn.Conv2d(3, 4, 3), torch.zeros(3, 8, 8)) if s.target == "conv2d" or s.macs)
    assert step.execution is None or step.execution.input_shape == (1, 3, 8, 8)
