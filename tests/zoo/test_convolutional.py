"""The source papers' convolutional networks: every count by hand, and every network through analysis and planning."""

from __future__ import annotations

from math import prod

import pytest
import torch
from torch import nn

import advisor
from advisor.models import load_model
from advisor.network import Network
from advisor.zoo.resnet_cifar import CifarResNet

MNIST, CIFAR = (1, 1, 28, 28), (1, 3, 32, 32)
SHAPES = {
    "mnist_small": MNIST,
    "cifar_small": CIFAR,
    "alexnet_cifar": CIFAR,
    "vgg16n": (1, 3, 224, 224),
    "lenet5": MNIST,
    "cnn4": MNIST,
    "wrn_28_10": CIFAR,
    "wrn_16_8": CIFAR,
    "basicnet": CIFAR,
    "resnet20": CIFAR,
    "resnet56": CIFAR,
}


def params(name: str, classes: int | None = None) -> int:
    return sum(p.numel() for p in load_model(f"zoo:{name}", num_classes=classes).module.parameters())


def network(name: str) -> Network:
    loaded = load_model(f"zoo:{name}")
    return advisor.analyze(loaded.module, loaded.example_inputs, name=loaded.name)


def slow_but(*quick: str) -> list[object]:
    """All names, those that are not listed marked slow."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in SHAPES]


@pytest.mark.parametrize(
    "name", slow_but("mnist_small", "cifar_small", "alexnet_cifar", "cnn4", "basicnet", "resnet20")
)
def test_every_network_is_analysed_whole(name: str) -> None:
    found = network(name)
    assert found.input_shapes == (SHAPES[name],)
    assert not found.unsupported_ops
    assert found.unreached_params == 0
    assert found.params == params(name)


@pytest.mark.parametrize(
    ("name", "classes", "expected"),
    [
        ("lenet5", 10, 520 + 25_050 + 400_500 + 5_010),
        ("lenet5", 10, 431_080),
        ("cnn4", 10, 800 + 51_200 + 1_025_000 + 10_010),
        ("cnn4", 10, 1_087_010),
        ("wrn_28_10", 10, 36_479_194),
        ("wrn_28_10", 100, 36_536_884),
        ("wrn_16_8", 10, 10_961_370),
        ("wrn_16_8", 100, 11_007_540),
        ("mnist_small", 10, 25 * (32 + 32 * 64 + 64 * 128) + 2 * (32 + 64 + 128) + 1152 * 10 + 10),
        ("cifar_small", 10, 25 * 64 * (3 + 64) + 4 * 64 + 4097 * 384 + 385 * 192 + 193 * 10),
        ("alexnet_cifar", 10, 64 * 364 + 192 * 1601 + 384 * 1729 + 256 * 3457 + 256 * 2305 + 2570),
    ],
)
def test_parameters_by_hand(name: str, classes: int, expected: int) -> None:
    assert params(name, classes) == expected


@pytest.mark.parametrize(("name", "blocks"), [("resnet20", 3), ("resnet56", 9)])
def test_residual_networks_by_their_closed_form(name: str, blocks: int) -> None:
    # n blocks a stage: 2 n convolutions of 9 w^2 for widths 16, 32, 64, of which the first of the second and third
    # stage reads half as many channels; a scale and a shift per channel; no parameters in any shortcut.
    convolutions = 9 * (3 * 16 + 2 * blocks * (16**2 + 32**2 + 64**2) - 32 * 16 - 64 * 32)
    norms = 2 * (16 + 2 * blocks * (16 + 32 + 64))
    assert params(name) == convolutions + norms + 65 * 10 == 97_216 * blocks - 21_926
    assert len([m for m in load_model(f"zoo:{name}").module.modules() if isinstance(m, nn.Conv2d | nn.Linear)]) == (
        6 * blocks + 2
    )


def test_vgg16n_as_the_paper_counts_it() -> None:
    found = network("vgg16n")
    convolutions = [layer for layer in found.sparsifiable if layer.is_conv]
    (classifier,) = (layer for layer in found.sparsifiable if not layer.is_conv)
    assert sum(layer.weights for layer in convolutions[:-1]) == 14_710_464
    assert sum(layer.weights for layer in convolutions) == 19_429_056
    assert classifier.weights == 1_024_000
    assert sum(layer.weights for layer in found.sparsifiable) == 20_453_056
    assert sum(layer.out_channels for layer in convolutions[:-1]) == 4_224
    assert round(sum(layer.macs for layer in convolutions) / 1e9, 2) == 15.35
    assert found.params == 20_453_056  # and nothing beside the weights


def test_basicnet_has_1856_filters() -> None:
    convolutions = [m for m in load_model("zoo:basicnet").module.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 7
    assert sum(m.out_channels for m in convolutions) == 1_856
    assert sum(isinstance(m, nn.BatchNorm2d) for m in load_model("zoo:basicnet").module.modules()) == 7


@pytest.mark.parametrize("blocks", [1, 2])
def test_shortcuts_without_parameters_keep_every_second_pixel(blocks: int) -> None:
    module = CifarResNet(blocks).eval()
    block = module.blocks[blocks]
    nn.init.zeros_(block.bn2.weight)  # the residual branch gives nothing
    x = torch.rand(2, 16, 8, 8)
    found = block(x)
    assert torch.equal(found[:, :16], x[:, :, ::2, ::2])
    assert not found[:, 16:].any()


@pytest.mark.parametrize("name", ["mnist_small", "cnn4", "resnet20", pytest.param("wrn_16_8", marks=pytest.mark.slow)])
def test_networks_train(name: str) -> None:
    torch.manual_seed(0)
    module = load_model(f"zoo:{name}", device="cpu").module
    logits = module(torch.rand(2, *SHAPES[name][1:]))
    logits.square().sum().backward()
    assert logits.shape == (2, 10)
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in module.parameters())


@pytest.mark.parametrize("name", slow_but("mnist_small", "lenet5"))
def test_plans_meet_a_budget_of_macs(name: str) -> None:
    found = network(name)
    plan = advisor.plan(found, budgets={"macs": "30%"}, patterns=("channel", "width"))
    assert plan.costs["macs"].plan <= 0.3 * found.macs
    masks = plan.masks()
    assert all(prod(masks[layer.name].shape) == layer.weights for layer in found.sparsifiable)
