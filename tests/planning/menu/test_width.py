"""What the planner is told about width: exact parameters, peaks and arithmetic at every choice of levels."""

import itertools

import numpy as np
import pytest

from advisor.coupling import kept_channels_of
from advisor.coupling.trial import tried
from advisor.devices.measuring.work import WIDTH_LEVELS
from advisor.errors import PatternError
from advisor.models import load_model
from advisor.patterns.option import DENSE
from advisor.planning.menu.width import width_levels, width_options
from advisor.runtime.execution import executions
from advisor.runtime.narrow import levels_from_options, narrow
from advisor.trace import analyze
from tests.coupling.networks import NETWORKS, build


def loaded(spec, input_text=None):
    model = load_model(spec, input_text=input_text)
    return analyze(model.module, model.example_inputs, name=spec)


def chosen(width, levels):
    """layer → option when group g is at levels[g]."""
    return {
        layer.name: layer.options[
            0 if layer.inputs is None else levels[layer.inputs], 0 if layer.outputs is None else levels[layer.outputs]
        ]
        for layer in width.layers
    }


def check(network, width, levels):
    """Every number of the table against the narrowed network, analysed anew."""
    options = chosen(width, levels)
    named = {group.name: group.levels[v] for group, v in zip(width.groups, levels, strict=True)}
    again = analyze(narrow(network.module, network, named, rounding=width.rounding), network.example_inputs)
    kept = {layer.name: round(layer.weights * options.get(layer.name, DENSE).density) for layer in network.sparsifiable}
    weights = sum(kept[layer.name] - layer.weights for layer in network.sparsifiable)
    beside = sum(group.params[v] - group.params[0] for group, v in zip(width.groups, levels, strict=True))
    assert again.params == network.params + weights + beside
    alive = width.base_bytes + sum(g.activation_bytes[:, v] for g, v in zip(width.groups, levels, strict=True))
    assert again.peak_activation_bytes == alive.max()
    for before, after in zip(network.sparsifiable, again.sparsifiable, strict=True):
        runs = executions(before, options.get(before.name, DENSE))
        assert sum(run.macs * times for run, times in runs.items()) == after.macs
        assert after.weights == kept[before.name]
    held = sum(g.buffer_bytes[v] - g.buffer_bytes[0] for g, v in zip(width.groups, levels, strict=True))
    held += sum(g.param_bytes[v] - g.param_bytes[0] for g, v in zip(width.groups, levels, strict=True))
    size = next(network.module.parameters()).element_size()
    assert again.weight_bytes == network.weight_bytes + held + weights * size


@pytest.mark.parametrize("rounding", ["ceil", "multiple8"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_number_is_that_of_the_narrowed_network(name, rounding):
    network = build(name)
    width = width_levels(network, (0.75, 0.5, 0.25), rounding)
    corners = [tuple(len(g.levels) - 1 for g in width.groups), tuple(min(1, len(g.levels) - 1) for g in width.groups)]
    for levels in dict.fromkeys(corners):
        check(network, width, levels)


def test_every_choice_of_levels():
    network = build("residual")
    width = width_levels(network, (0.5, 0.25))
    for levels in itertools.product(*(range(len(group.levels)) for group in width.groups)):
        check(network, width, levels)


@pytest.mark.parametrize("spec", ["zoo:digits_cnn", "torchvision:resnet18"])
def test_real_networks(spec):
    network = loaded(spec)
    width = width_levels(network, WIDTH_LEVELS)
    alive = width.base_bytes + sum(group.activation_bytes[:, 0] for group in width.groups)
    assert alive.max() == network.peak_activation_bytes
    check(network, width, tuple((i + 1) % len(group.levels) for i, group in enumerate(width.groups)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["mobilenet_v3_small", "shufflenet_v2_x1_0", "densenet121", "inception_v3", "regnet_y_400mf", "resnext50_32x4d",
     "efficientnet_b0", "squeezenet1_0", "googlenet", "vit_b_16", "convnext_tiny", "swin_t"],
)  # fmt: skip
def test_families(name):
    network = loaded(f"torchvision:{name}")
    width = width_levels(network, WIDTH_LEVELS)
    check(network, width, tuple(i % len(group.levels) for i, group in enumerate(width.groups)))
    check(network, width, tuple(len(group.levels) - 1 for group in width.groups))


def test_options_are_pairs_of_levels():
    network = build("residual")
    options = width_options(network, (1.0, 0.5, 0.25))
    assert {len(found) for found in options.values()} == {2, 8}  # one free side, or 3 · 3 pairs without the dense one
    for layer in network.sparsifiable:
        found = options[layer.name]
        assert [o.density for o in found] == sorted((o.density for o in found), reverse=True)
        assert len({o.label for o in found}) == len(found)
        for option in found:
            sizes = option.parameters
            taps = layer.weights // (layer.in_channels * layer.out_channels)
            assert option.density * layer.weights == sizes["in_channels"] * sizes["out_channels"] * taps
            assert set(sizes) == {"in", "out", "rounding", "in_channels", "out_channels"}


def test_one_group_on_both_sides_has_equal_levels_only():
    found = width_options(build("depthwise"), (0.5, 0.25))["b"]
    assert [(o.parameters["in"], o.parameters["out"]) for o in found] == [(0.5, 0.5), (0.25, 0.25)]
    assert [o.density for o in found] == [0.5, 0.25]


def test_levels_survive_the_way_through_options():
    network = build("residual")
    width = width_levels(network, (0.5, 0.25))
    levels = (1, 2)
    back = levels_from_options(network, chosen(width, levels))
    assert back == {"a": 0.5, "b": 0.25, "head": 1.0}


def test_frozen_groups_are_named_with_the_reason():
    width = width_levels(build("reshape"), (0.5,))
    assert "trial" in width.frozen["a"]
    assert [group.name for group in width.groups] == ["b"]


def test_bad_levels_are_refused():
    with pytest.raises(PatternError, match="outside"):
        width_options(build("residual"), (0.0,))
    with pytest.raises(PatternError, match="unknown rounding"):
        width_options(build("residual"), (0.5,), "floor")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("alpha", "millions", "weights"),
    [(0.05, 55.0, 56e3), (0.1, 75.0, 170e3), (0.2, 183.0, 718e3), (0.3, 439.0, 1.8e6), (0.5, 1400, 5.4e6),
     (0.8, 3400, 13e6)],
)  # fmt: skip
def test_depth_multiplier_rows_of_the_source_paper(inception, alpha, millions, weights):
    """Changpinyo, Sandler and Zhmoginov (2017), Table 1, right half: multiply-adds and convolution weights.

    The table prints two or three digits; where branches are concatenated, the next layer reads the sum of what they
    keep.
    """
    width = width_levels(inception, (alpha,), "multiple8")
    options = chosen(width, tuple(len(group.levels) - 1 for group in width.groups))
    layers = [layer for layer in inception.sparsifiable if layer.is_conv]
    macs = sum(
        run.macs * times for layer in layers for run, times in executions(layer, options.get(layer.name, DENSE)).items()
    )
    kept = sum(round(options.get(layer.name, DENSE).density * layer.weights) for layer in layers)
    tight = alpha <= 0.3
    assert macs / 1e6 == pytest.approx(millions, rel=0.008 if tight else 0.03)
    assert kept == pytest.approx(weights, rel=0.003 if tight else 0.04)


@pytest.mark.parametrize(
    ("rounding", "alpha", "expected"),
    [
        ("ceil", 0.05, 17.7), ("multiple8", 0.05, 51.3), ("multiple8", 0.1, 74.6), ("multiple8", 0.2, 192.3),
        ("multiple8", 0.3, 444.0), ("multiple8", 0.5, 1432.6), ("multiple8", 0.8, 3452.8),
    ],
)  # fmt: skip
def test_the_rounding_rules_applied_to_each_layer_alone(shapes, rounding, alpha, expected):
    """Millions of multiply-adds when both counts of every layer are rounded by themselves, concatenations left out."""
    macs = 0
    for layer in shapes.sparsifiable:
        if layer.is_conv:
            inputs = 3 if layer.in_channels == 3 else kept_channels_of(alpha, layer.in_channels, rounding)
            outputs = kept_channels_of(alpha, layer.out_channels, rounding)
            macs += layer.macs // (layer.in_channels * layer.out_channels) * inputs * outputs
    assert round(macs / 1e6, 1) == expected


@pytest.fixture(scope="module")
def shapes():
    return loaded("torchvision:inception_v3")


@pytest.fixture(scope="module")
def inception(shapes):
    assert not any("trial" in group.frozen for group in tried(shapes).groups)
    return shapes


def test_the_planner_sees_arrays():
    width = width_levels(build("residual"), (0.5,))
    for group in width.groups:
        assert group.params.shape == group.param_bytes.shape == group.buffer_bytes.shape == (len(group.levels),)
        assert group.activation_bytes.shape == (len(width.base_bytes), len(group.levels))
        assert (np.diff(group.params) < 0).all()
