"""Networks under a plan: kept weights, what kernels keep, and pooling on the kernels."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import advisor
from advisor.devices.memory import predict_memory
from advisor.devices.memory.deployed import module_for
from advisor.runtime.native import library
from advisor.runtime.pooling import MaxPool2d
from advisor.runtime.sparse import Sparse, sparse

from .allocator import allocated_peak

native = pytest.mark.skipif(not library.available(), reason=f"no sparse kernels: {library.why_not()}")


def thinned() -> Sparse:
    """A 3x3 convolution of 32 channels whose four blocks of 16 outputs keep 8 inputs each."""
    lists = torch.arange(8).repeat(4) + torch.arange(4).repeat_interleave(8) * 8
    return sparse(nn.Conv2d(32, 64, 3, padding=1), torch.arange(5) * 8, lists, 16)


def test_kept_weights_are_what_counts(compiled: None) -> None:
    layer = thinned()
    found = predict_memory(layer, (torch.zeros(1, 32, 28, 28),))
    assert found.parameters_bytes == 4 * (32 * 9 * 16 + 64)  # kept weights and the bias
    assert found.buffers_bytes == 4 * (5 + 32)  # where lists start, and the lists
    assert found.activations_bytes == 4 * 64 * 28 * 28


@native
def test_kernels_keep_their_packed_input() -> None:
    layer, x = thinned(), torch.randn(1, 32, 28, 28)
    found = predict_memory(layer, (x,))
    # Planes of at least one band: all inputs, some rows.
    assert 32 * 28 * 4 < found.workspace_bytes < 2 << 20
    with torch.inference_mode():
        layer(x)
        # Nothing but the output comes from torch's allocator.
        assert allocated_peak(lambda: layer(x)) == found.activations_bytes


@native
def test_training_counts_kept_gradients() -> None:
    layer, x = thinned(), torch.zeros(2, 32, 28, 28)
    found = predict_memory(layer, (x,), training=True, optimizer="adam")
    assert found.optimizer_bytes == 2 * found.parameters_bytes + 8
    assert found == predict_memory(layer, (x,), training=True, optimizer="adam", real=True)


@native
def test_pooling_on_kernels_makes_no_indices() -> None:
    # Under a profiler or a dispatch mode torch's own pooling runs instead, so nothing but counting shows this.
    x = torch.randn(1, 8, 32, 32)
    ours = nn.Sequential(MaxPool2d(2))
    pooled = x.nbytes // 4
    assert predict_memory(ours, (x,)).activations_bytes == pooled
    assert predict_memory(nn.Sequential(nn.MaxPool2d(2)), (x,)).activations_bytes == 3 * pooled  # int64 indices


def test_a_plan_is_predicted_as_it_will_run(compiled: None) -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    )
    network = advisor.analyze(net, torch.randn(2, 3, 16, 16), name="net")
    plan = advisor.plan(network, budgets={"macs": "40%"}, patterns=["group"])
    dense = predict_memory(module_for(network, None, training=False), network.example_inputs)
    planned = predict_memory(module_for(network, plan, training=False), network.example_inputs)
    assert planned.weights_bytes < dense.weights_bytes
    trains = predict_memory(module_for(network, plan, training=True), network.example_inputs, training=True)
    assert trains.parameters_bytes < 4 * network.params
    assert module_for(network, None, training=True) is net
