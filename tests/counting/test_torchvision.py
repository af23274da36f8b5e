"""The integers that the field agrees on."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from advisor.commands.network import open_network
from advisor.network import Network

TABLE = Path(__file__).parents[3] / "shared/data/counting/torchvision_macs.csv"


def network(name: str) -> Network:
    return open_network(f"torchvision:{name}", None)


def test_alexnet() -> None:
    alexnet = network("alexnet")
    assert (alexnet.macs, alexnet.params) == (714_188_480, 61_100_840)
    assert alexnet.layer("features.0").macs == 64 * 55 * 55 * 3 * 121
    # the input and what the first convolution makes of it; ReLU works in place
    assert alexnet.peak_activation_bytes == 4 * (3 * 224 * 224 + 64 * 55 * 55)


def test_inception_v3_without_its_auxiliary_head() -> None:
    inception = network("inception_v3")
    assert inception.input_shapes == ((1, 3, 299, 299),)
    assert sum(layer.macs for layer in inception.layers if layer.is_conv) == 5_711_168_096
    assert inception.macs == 5_711_168_096 + 2048 * 1000
    assert inception.unreached_params == 3_326_696
    assert not any(layer.name.startswith("AuxLogits") for layer in inception.layers)


def test_resnet50() -> None:
    resnet = network("resnet50")
    assert (resnet.params, resnet.macs, resnet.unreached_params) == (25_557_032, 4_089_184_256, 0)
    assert len(resnet.sparsifiable) == 54
    assert resnet.origin == "export"


def test_vit_b_16_counts_its_attention() -> None:
    vit = network("vit_b_16")
    assert (vit.macs, vit.params) == (17_563_828_224, 86_567_656)
    assert round(vit.macs / 1e9, 2) == 17.56


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not TABLE.exists(), reason=f"the table of measured counts is not here: {TABLE}")
def test_every_network_of_the_table_agrees_exactly() -> None:
    with TABLE.open() as lines:
        table = {
            row["model"].removeprefix("tv:"): (int(row["params"]), int(row["macs"])) for row in csv.DictReader(lines)
        }
    assert len(table) > 60
    ours = {name: (found.params, found.macs) for name in table for found in [network(name)]}
    assert ours == table


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["classification", "detection", "segmentation", "video", "optical_flow"])
def test_every_network_of_torchvision_is_counted_completely(kind: str) -> None:
    from advisor.models import torchvision_names
    from benchmarks.analyze_torchvision import kind_of

    names = [name for name in torchvision_names() if kind_of(name) == kind]
    assert names
    for name in names:
        found = network(name)
        assert found.macs > 0, name
        assert not found.unsupported_ops, name
        assert found.origin == ("recorded" if kind == "detection" else "export"), name


@pytest.mark.slow
def test_a_detector_counts_the_same_each_time() -> None:
    name = "fasterrcnn_mobilenet_v3_large_320_fpn"
    first, second = network(name), network(name)
    assert first.origin == "recorded"
    assert (first.macs, first.layers) == (second.macs, second.layers)
    assert any("recorded" in note for note in first.notes)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_timm_networks_of_every_kind_are_counted_completely() -> None:
    pytest.importorskip("timm")
    from benchmarks.analyze_torchvision import TIMM

    for name in TIMM:
        found = open_network(f"timm:{name}", None)
        assert found.macs > 0, name
        assert not found.unsupported_ops, name
        assert found.unreached_params == 0 or name == "fastvit_t8", (name, found.unreached_params)
