"""Repair on real networks, held against a breadth-first search over single channels."""

import numpy as np
import pytest
import torch
import torchvision

from advisor.patterns.base import layer_seed, pattern
from advisor.patterns.candidates import end_layers
from advisor.patterns.connectivity import apply_repair, repair
from advisor.patterns.option import Option
from advisor.trace import analyze
from tests.patterns.oracle import off_the_way

slow = pytest.mark.slow


def meta(name: str, size: int = 224, **settings):
    with torch.device("meta"):
        model = getattr(torchvision.models, name)(**settings)
    return analyze(model, (1, 3, size, size))


@pytest.mark.parametrize("by_scores", [False, True])
@pytest.mark.parametrize(
    ("name", "density", "may_drop"),
    [
        ("resnet18", 0.01, False),  # residual additions, strided shortcuts
        ("mobilenet_v2", 0.02, True),  # depthwise between narrow layers: few rows cannot read all channels
        pytest.param("googlenet", 0.01, False, marks=slow),  # concatenations of four branches
        pytest.param("shufflenet_v2_x1_0", 0.01, False, marks=slow),  # channel shuffles and splits
        pytest.param("resnext50_32x4d", 0.01, False, marks=slow),  # grouped convolutions
        pytest.param("resnet50", 0.01, False, marks=slow),
    ],
)
def test_every_kept_connection_lies_on_a_way_through(name, density, may_drop, by_scores):
    network = meta(name, **({"init_weights": False} if name == "googlenet" else {}))
    layers, ends, kind = {one.name: one for one in network.sparsifiable}, end_layers(network), pattern("channel")
    chosen, scores = {}, {}
    for one in layers.values():
        option, seed = Option(pattern="channel", density=density), layer_seed(0, one.name)
        if one.name not in ends and not kind.problem(one, option):
            worth = np.random.default_rng(seed).random(kind.unit_shape(one, option))
            scores[one.name] = worth
            chosen[one.name] = (
                option,
                kind.connections(one, option, seed=seed, scores=worth if by_scores else None),
            )
    graph = network.coupling.graph
    result, done = repair(graph, layers, chosen, scores if by_scores else None)
    assert not off_the_way(graph, layers, {layer: (rows, 1) for layer, rows in result.items()})
    assert done.rewired
    assert bool(done.dropped) == may_drop
    for layer, rows in result.items():
        before, dropped = chosen[layer][1], done.dropped.get(layer, ())
        full = np.setdiff1d(np.arange(len(rows)), dropped)
        assert (rows[full].sum(axis=1) == before.sum(axis=1)[0]).all()
        assert (apply_repair(before, done.rewired.get(layer, ()), dropped) == rows).all()


def test_a_flattened_linear_layer_reads_every_channel_somewhere():
    network = meta("vgg11")
    layers = {one.name: one for one in network.sparsifiable}
    first = layers["classifier.0"]
    assert first.in_channels == 25088
    option = Option(pattern="group", density=0.0005, parameters={"block": 64})  # 13 of 25,088 positions per block
    drawn = pattern("group").connections(first, option, seed=1)
    before = np.unique(np.flatnonzero(drawn.any(axis=0)) // 49)
    result, done = repair(network.coupling.graph, layers, {"classifier.0": (option, drawn)})
    after = np.unique(np.flatnonzero(result["classifier.0"].any(axis=0)) // 49)
    assert len(before) < 512
    assert len(after) == 512
    assert len(done.rewired["classifier.0"]) == 512 - len(before)
    assert (result["classifier.0"].sum(axis=1) == 13).all()
