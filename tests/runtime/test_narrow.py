"""Narrowed networks compute what the dense one computes without its dropped channels."""

import pytest
import torch
from torch import nn

from advisor.errors import PlanError
from advisor.models import load_model
from advisor.patterns.option import DENSE, Option
from advisor.runtime.narrow import kept_channels, levels_from_options, narrow
from advisor.trace import analyze
from tests.coupling.equal import compare, levels_at
from tests.coupling.networks import NETWORKS, build, example, randomise


@pytest.mark.parametrize("level", [0.75, 0.5, 0.3])
@pytest.mark.parametrize("name", NETWORKS)
def test_equal_to_the_dense_network_without_the_dropped_channels(name, level):
    network = build(name)
    levels = levels_at(network, level)
    assert levels
    small, difference = compare(network, levels, example(name))
    assert difference < 1e-10
    assert sum(p.numel() for p in small.parameters()) < network.params


def test_each_side_narrows_alone():
    network = build("residual")
    for group in ("a", "b"):
        small, difference = compare(network, {group: 0.5}, example("residual"))
        assert difference < 1e-10
    assert small.b.weight.shape == (12, 16, 3, 3)


@pytest.mark.parametrize(("spec", "size"), [("zoo:digits_cnn", "1x1x16x16"), ("torchvision:resnet18", "1x3x32x32")])
def test_real_networks_on_real_numbers(spec, size):
    check_real(spec, 0.5, size)


FAMILIES = {
    "mobilenet_v2": 64, "mobilenet_v3_small": 64, "efficientnet_b0": 64, "shufflenet_v2_x1_0": 64, "densenet121": 64,
    "googlenet": 64, "inception_v3": 96, "squeezenet1_0": 64, "regnet_y_400mf": 64, "resnext50_32x4d": 64,
    "resnet50": 64,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("level", [0.5, 0.3])
@pytest.mark.parametrize("name", FAMILIES)
def test_families_on_real_numbers(name, level):
    size = FAMILIES[name]
    check_real(f"torchvision:{name}", level, f"1x3x{size}x{size}")


def check_real(spec, level, input_text):
    torch.manual_seed(0)
    loaded = load_model(spec, device="cpu", input_text=input_text, num_classes=10)
    module = loaded.module.double().eval()
    randomise(module)
    given = torch.randn(loaded.example_inputs[0].shape, dtype=torch.float64)
    network = analyze(module, given)
    levels = levels_at(network, level)
    assert len(levels) > 3
    small, difference = compare(network, levels, given)
    with torch.no_grad():
        scale = float(module(given).abs().max())
    assert difference <= 1e-10 * max(scale, 1.0)
    assert sum(p.numel() for p in small.parameters()) < network.params


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg11_bn", "convnext_tiny", "vit_b_16", "swin_t"])
def test_families_on_meta(name):
    loaded = load_model(f"torchvision:{name}")
    network = analyze(loaded.module, loaded.example_inputs)
    levels = levels_at(network, 0.5)
    small = narrow(loaded.module, network, levels)
    again = analyze(small, loaded.example_inputs)
    kept = kept_channels(network, levels)
    assert again.params < network.params
    for layer in again.sparsifiable:
        inputs, outputs = kept[layer.name]
        assert (layer.in_channels, layer.out_channels) == (len(inputs), len(outputs))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_heads_still_train(name):
    loaded = load_model(f"torchvision:{name}")
    network = analyze(loaded.module, loaded.example_inputs)
    small = narrow(loaded.module, network, levels_at(network, 0.5)).train()
    outputs = small(torch.zeros(2, 3, 299, 299, device="meta"))
    assert all(out.shape == (2, 1000) for out in outputs)


def test_the_given_module_stays_as_it_was():
    network = build("residual")
    before = {name: tensor.clone() for name, tensor in network.module.state_dict().items()}
    narrow(network.module, network, {"a": 0.5, "b": 0.25})
    after = network.module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_sizes_kept_beside_the_tensors_follow():
    network = build("depthwise")
    small = narrow(network.module, network, {"a": 0.5})
    assert (small.b.groups, small.b.in_channels, small.b.out_channels) == (8, 8, 8)
    assert (small.a.out_channels, small.c.in_channels) == (8, 8)
    network = build("residual")
    small = narrow(network.module, network, {"b": 0.5})
    assert small.norm.num_features == 12
    small.train()(example("residual")).sum().backward()
    assert small.norm.running_mean.shape == (12,)


def test_layer_norm_without_parameters_follows():
    module = nn.Sequential(nn.Linear(4, 16), nn.LayerNorm(16, elementwise_affine=False), nn.ReLU(), nn.Linear(16, 2))
    network = analyze(module, (3, 4))
    small = narrow(module, network, levels_at(network, 0.5))
    assert small[1].normalized_shape == (8,)
    assert small(torch.randn(3, 4)).shape == (3, 2)


def test_tied_weights_stay_tied():
    network = build("shared")
    module = nn.ModuleDict({"net": network.module, "twin": nn.Linear(16, 16).double()})
    module["twin"].weight = network.module.b.weight
    wrapped = nn.Sequential(network.module)
    small = narrow(wrapped, analyze(wrapped, example("shared")), {"0.a": 0.5})
    assert small[0].b.weight.shape == (8, 8)
    tied = build("tied")
    small = narrow(tied.module, tied, {"a": 0.5})
    assert small.head.weight is small.words.weight


def test_largest_filters_stay():
    network = build("concat")
    weights = {layer.name: dict(network.module.named_parameters())[layer.weight].detach().numpy().copy()
               for layer in network.sparsifiable}  # fmt: skip
    weights["a"][[1, 4, 7, 8, 9, 10]] *= 100
    kept = kept_channels(network, {"a": 0.5}, weights=weights)
    assert kept["a"][1].tolist() == [1, 4, 7, 8, 9, 10]
    assert kept["c"][0][:6].tolist() == [1, 4, 7, 8, 9, 10]
    assert len(kept["c"][0]) == 16


def test_another_network_is_refused():
    network = build("residual")
    other = build("residual").module
    other.norm = nn.BatchNorm2d(30)
    with pytest.raises(PlanError, match=r"norm\.\w+ has shape \(30,\), expected 24"):
        narrow(other, network, {"b": 0.5})
    with pytest.raises(PlanError, match="no parameter or buffer"):
        narrow(nn.Linear(2, 2), network, {"b": 0.5})


def test_levels_come_back_from_options():
    network = build("residual")

    def width(before, after):
        return Option(pattern="width", density=0.5, parameters={"in": before, "out": after, "rounding": "ceil"})

    options = {"a": width(1.0, 0.5), "b": width(0.5, 0.25), "c": width(0.25, 0.5), "head": width(0.5, 1.0)}
    assert levels_from_options(network, options) == {"a": 0.5, "b": 0.25, "head": 1.0}
    assert levels_from_options(network, {"a": DENSE}) == {}
    with pytest.raises(PlanError, match="share one level"):
        levels_from_options(network, options | {"c": width(0.25, 0.75)})
    with pytest.raises(PlanError, match="never narrows"):
        levels_from_options(network, {"a": width(0.5, 0.5)})
