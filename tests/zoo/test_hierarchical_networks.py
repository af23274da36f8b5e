"""HAT-Net and TransCNN: exact numbers of parameters and multiply-adds, and the closed form of the former."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import advisor
from advisor.models import load_model
from advisor.runtime.attention import HierarchicalAttention
from advisor.zoo import ZOO, hat_net, transcnn
from advisor.zoo.hierarchical_blocks import Stage

# parameters, multiply-adds of convolutions and linear layers, the same with attention products
NETWORKS = {
    "hat_net_tiny": (12_655_912, 1_969_741_824, 2_128_134_912),
    "hat_net_small": (25_747_784, 4_292_868_096, 4_548_314_112),
    "hat_net_medium": (42_942_472, 8_294_604_800, 8_777_348_096),
    "hat_net_large": (63_132_488, 11_440_291_328, 12_074_854_656),
    "transcnn_tiny": (13_315_976, 2_573_717_504, 2_850_541_568),
    "transcnn_small": (26_538_824, 5_169_270_784, 5_651_615_744),
    "transcnn_medium": (48_322_504, 8_916_894_720, 9_519_825_920),
    "transcnn_large": (80_033_352, 14_703_736_832, 15_460_808_704),
}


def closed_form(stages: tuple[Stage, ...]) -> int:
    """Parameters of a HAT-Net for 1000 classes: stem, blocks, downsampling, classifier."""
    first, last = stages[0].channels, stages[-1].channels
    total = 448 + 32 + 144 * first + first + 1000 * last + 1000
    for stage in stages:
        c, e, k = stage.channels, stage.expansion, stage.kernel
        attention = 7 * c * c + 15 * c if stage.window > 1 else 4 * c * c + 8 * c
        total += stage.depth * (attention + 2 * e * c * c + k * k * e * c + 4 * c)
    for before, after in pairwise(stages):
        total += 9 * before.channels * after.channels + 3 * after.channels
    return total


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_and_multiply_adds(name: str) -> None:
    """The published counts leave the attention products out; 2·N·C for each key that a query sees: G², then N/D²."""
    loaded = load_model(f"zoo:{name}")
    params, weighted, everything = NETWORKS[name]
    assert sum(p.numel() for p in loaded.module.parameters()) == params
    counted = products = 0

    def count(module: nn.Module, inputs: Any, output: Tensor) -> None:
        nonlocal counted, products
        if isinstance(module, HierarchicalAttention):
            tokens = output.shape[2] * output.shape[3]
            keys = tokens if module.window == 1 else module.window**2 + tokens // module.pool**2
            products += 2 * tokens * module.channels * keys
        elif isinstance(module, nn.Conv2d | nn.Linear):
            counted += output.numel() * prod(module.weight.shape[1:])

    for child in loaded.module.modules():
        child.register_forward_hook(count)
    (example,) = loaded.example_inputs
    assert tuple(example.shape) == ZOO[name].input_shape
    assert loaded.module.eval()(example).shape == (1, 1000)
    assert counted == weighted
    assert products == everything - weighted


def test_analysis_counts_attention_too() -> None:
    loaded = load_model("zoo:hat_net_tiny")
    network = advisor.analyze(loaded.module, loaded.example_inputs, name=loaded.name)
    params, weighted, everything = NETWORKS["hat_net_tiny"]
    assert (network.params, network.macs) == (params, everything)
    assert everything - weighted == sum(layer.macs for layer in network.layers if layer.kind == "attention")
    assert not network.unsupported_ops
    # The norm in each block that nothing reads, as published.
    assert network.unreached_params == sum(2 * stage.channels * stage.depth for stage in hat_net.TINY)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "hat_net_tiny"])
def test_analysis_of_the_others(name: str) -> None:
    loaded = load_model(f"zoo:{name}")
    network = advisor.analyze(loaded.module, loaded.example_inputs, name=name)
    assert (network.params, network.macs) == (NETWORKS[name][0], NETWORKS[name][2])


@pytest.mark.parametrize("name", ["tiny", "small", "medium", "large"])
def test_the_closed_form(name: str) -> None:
    assert closed_form(getattr(hat_net, name.upper())) == NETWORKS[f"hat_net_{name}"][0]


SMALL_STAGES = tuple(
    Stage(channels=8 * (1 + stage), depth=1 + (stage == 1), expansion=2, kernel=3, window=3 if stage < 3 else 1, pool=2)
    for stage in range(4)
)


@pytest.mark.parametrize("family", ["hat_net", "transcnn"])
def test_small_ones_train_on_sizes_that_do_not_divide(family: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        build = hat_net.hat_net if family == "hat_net" else transcnn.transcnn
        network = build(SMALL_STAGES, 5, head_size=4, drop_path=0.2)
        out = network(torch.randn((2, 3, 70, 54)))
        assert out.shape == (2, 5)
        out.square().sum().backward()
    spare = {name for name, p in network.named_parameters() if p.grad is None}
    assert all("spare_norm" in name for name in spare)
    assert bool(spare) == (family == "hat_net")


def test_drop_path_rises_to_the_last_block() -> None:
    network = hat_net.hat_net(SMALL_STAGES, 5, head_size=4, drop_path=0.2)
    rates = [child.p for child in network.modules() if type(child).__name__ == "StochasticDepth"]
    assert rates == pytest.approx([0.05, 0.05, 0.1, 0.1, 0.15, 0.15, 0.2, 0.2])  # the first block keeps its branches
