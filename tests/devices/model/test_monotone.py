import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.devices.model.device import DeviceModel
from advisor.devices.model.monotone import along_kept, rising
from advisor.runtime.execution import Execution
from tests.devices.formula import device_profile


@pytest.fixture(scope="module")
def model() -> DeviceModel:
    found = device_profile().estimator
    assert isinstance(found, DeviceModel)
    return found


@st.composite
def sparse_layers(draw: st.DrawFn) -> list[Execution]:
    """One layer with three numbers of kept connections, ascending."""
    block, k = draw(st.sampled_from([1, 4, 16])), draw(st.sampled_from([1, 3, 5]))
    blocks, c, side = draw(st.integers(1, 12)), draw(st.integers(1, 96)), draw(st.integers(5, 60))
    kept = sorted(draw(st.lists(st.integers(1, blocks * c), min_size=3, max_size=3)))
    linear = draw(st.booleans())
    return [
        Execution(
            kind="linear" if linear else "conv2d",
            method="direct",
            input_shape=(side, c) if linear else (1, c, side, side),
            weight_shape=(blocks * block, c) if linear else (blocks * block, c, k, k),
            stride=() if linear else (1, 1),
            padding=() if linear else (k // 2, k // 2),
            dilation=() if linear else (1, 1),
            kept=n,
            block=block,
        )
        for n in kept
    ]


@given(sparse_layers())
@settings(max_examples=60, deadline=None)
def test_more_connections_never_take_less_time(model: DeviceModel, layers: list[Execution]) -> None:
    found = [model.layer(layer) for layer in layers]
    for fewer, more in itertools.pairwise(found):
        assert fewer.median_ms <= more.median_ms * (1 + 1e-9)


@given(sparse_layers())
@settings(max_examples=60, deadline=None)
def test_all_layers_that_differ_in_kept_lie_on_one_curve(layers: list[Execution]) -> None:
    first = along_kept(layers[0])
    kept = [e.kept for e in first.executions]
    assert kept == sorted(set(kept))
    for layer in layers:
        curve = along_kept(layer)
        assert curve.executions == first.executions
        distance = [abs(np.log(k / layer.kept)) for k in kept]
        assert distance[curve.place] == min(distance)


def test_a_dense_layer_is_a_curve_of_its_own() -> None:
    layer = Execution(kind="linear", method="dense", input_shape=(1, 8), weight_shape=(4, 8))
    curve = along_kept(layer)
    assert curve.executions == (layer,)
    assert curve.at(np.array([0.25])) == 0.25


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=20))
def test_what_is_made_to_rise_rises_and_keeps_its_mean(values: list[float]) -> None:
    found = rising(np.array(values))
    assert (np.diff(found) >= -1e-12).all()
    assert found.mean() == pytest.approx(np.mean(values), abs=1e-9)
    assert rising(found) == pytest.approx(found)


def test_what_rises_already_stays() -> None:
    assert rising(np.array([1.0, 2.0, 2.0, 5.0])).tolist() == [1.0, 2.0, 2.0, 5.0]


def test_the_curve_is_read_between_its_points() -> None:
    layer = Execution(kind="linear", method="direct", input_shape=(1, 64), weight_shape=(64, 64), kept=500, block=1)
    curve = along_kept(layer)
    ms = np.array([e.kept**0.7 for e in curve.executions])
    assert curve.at(ms) == pytest.approx(500**0.7)
