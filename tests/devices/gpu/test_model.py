"""The estimator: round trip, layers, steps and whole networks, and who waits for whom."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from advisor.devices.gpu.classes import KERNELS, step_classes
from advisor.devices.gpu.columns import network_columns
from advisor.devices.gpu.conformal import Interval
from advisor.devices.gpu.layer_fit import Known, fit_layers
from advisor.devices.gpu.model import GpuModel, step_of
from advisor.devices.gpu.network_fit import fit_networks, left_out
from advisor.devices.gpu.rates import Rates, fit_rates
from advisor.devices.steps.record import record_steps
from advisor.errors import ProfileError
from advisor.runtime.execution import Execution
from tests.devices.gpu.examples import FACTS, made_up_table

ABOUT = Interval((), (-0.2,), (0.3,))


def small_network() -> torch.nn.Module:
    with torch.device("meta"):
        return torch.nn.Sequential(
            torch.nn.Conv2d(3, 16, 3, padding=1, bias=False),
            torch.nn.BatchNorm2d(16),
            torch.nn.ReLU(inplace=True),
            torch.nn.Conv2d(16, 16, 3, padding=1, groups=16),
            torch.nn.Conv2d(16, 32, 1),
            torch.nn.AdaptiveAvgPool2d(1),
            torch.nn.Flatten(),
            torch.nn.Linear(32, 10),
        ).eval()


def recording(batch: int, side: int = 32, training: bool = False) -> Any:
    inputs = (torch.empty(batch, 3, side, side, device="meta"),)
    return record_steps(small_network().train(training), inputs, training=training)


def model(with_layers: bool, **changes: Any) -> GpuModel:
    layers = None
    if with_layers:
        table, _ = made_up_table(150)
        layers = fit_layers(Known(name="x", table=table, facts=FACTS), trees=20, folds=2).model
    plain = GpuModel(
        facts=FACTS, dtype="float32", layers=layers, rates=Rates(inverse={}), network=ABOUT, fitted=not with_layers
    )
    return replace(plain, **changes)


def convolution(**changes: Any) -> Execution:
    plain: dict[str, Any] = {
        "kind": "conv2d", "method": "dense", "input_shape": (8, 64, 28, 28), "weight_shape": (64, 64, 3, 3),
        "stride": (1, 1), "padding": (1, 1), "dilation": (1, 1),
    }  # fmt: skip
    return Execution(**(plain | changes))


@pytest.mark.parametrize("with_layers", [True, False])
def test_a_model_survives_json(with_layers: bool) -> None:
    before = model(with_layers)
    after = GpuModel.from_document(json.loads(json.dumps(before.to_document())))
    for batch in (1, 64):
        run = recording(batch)
        one, two = before.whole(run), after.whole(run)
        assert two.median_ms == pytest.approx(one.median_ms, rel=2e-3)
        assert two.low_ms < two.median_ms < two.high_ms
    assert after.layer(convolution()).median_ms == pytest.approx(before.layer(convolution()).median_ms, rel=2e-3)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"kind": "cpu"}, "kind 'cpu'"),
        ({"version": 99}, "version 99"),
        ({"dtype": "fp32"}, "got 'fp32'"),
        ({"facts": None}, "expected an object"),
        ({"facts": {"device": "x"}}, "sm_count got None"),
        (
            {"rates": {"inverse": {"x": -1}, "kernel_ms": 0, "launch_ms": 0, "constant_ms": 0, "sharpness": 3}},
            "negative",
        ),
    ],
)
def test_a_model_that_makes_no_sense_is_refused(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ProfileError, match=complaint):
        GpuModel.from_document(model(False).to_document() | change, "profile x")
    short = model(False).to_document()
    del short["network"]
    with pytest.raises(ProfileError, match="network missing"):
        GpuModel.from_document(short)


@pytest.mark.parametrize("with_layers", [True, False])
@pytest.mark.parametrize(
    "execution",
    [
        convolution(),
        convolution(method="packed", kept=1000),
        convolution(method="gather", kept=32, block=16),
        convolution(method="direct", kept=128, block=16),
        convolution(weight_shape=(64, 1, 3, 3), groups=64),
        convolution(kind="conv_transpose2d", output_padding=(0, 0)),
        convolution(
            kind="conv3d", input_shape=(2, 64, 8, 28, 28), weight_shape=(64, 64, 3, 3, 3), stride=(1,) * 3,
            padding=(1,) * 3, dilation=(1,) * 3,
        ),
        convolution(
            kind="conv1d", input_shape=(2, 64, 99), weight_shape=(8, 64, 3), stride=(1,), padding=(0,), dilation=(2,)
        ),
        Execution(kind="linear", method="dense", input_shape=(4, 7, 64), weight_shape=(10, 64)),
    ],
    ids=lambda e: f"{e.kind}-{e.method}-{e.groups}",
)  # fmt: skip
def test_every_execution_has_a_time_with_an_interval(with_layers: bool, execution: Execution) -> None:
    found = model(with_layers).layer(execution)
    assert 0 < found.low_ms <= found.median_ms <= found.high_ms < 1e3
    if execution.method in ("gather", "direct"):
        assert found.origin == "extrapolated"


def test_views_take_no_time_and_parts_make_the_whole() -> None:
    run = recording(256, 64)
    gpu = model(False)
    assert all(gpu.step(step).median_ms == 0 for step in run.steps if step.family == "view")
    whole = gpu.whole(run)
    assert sum(whole.parts.values()) == pytest.approx(whole.median_ms, rel=1e-6)
    assert {"layer", "norm", "elementwise"} <= set(whole.parts)


def test_small_batches_wait_for_the_host_and_large_ones_for_the_gpu() -> None:
    gpu = model(False, rates=Rates(inverse={}, launch_ms=0.02))
    one, two, many, twice = (gpu.whole(recording(batch)).median_ms for batch in (1, 2, 4096, 8192))
    assert two == pytest.approx(one, rel=0.01)
    assert one >= 0.02 * sum(step.family != "view" for step in recording(1).steps)
    assert twice == pytest.approx(2 * many, rel=0.05)


def test_training_costs_more_than_inference() -> None:
    gpu = model(False)
    assert gpu.whole(recording(256, training=True)).median_ms > 2 * gpu.whole(recording(256)).median_ms


def test_classes_by_hand() -> None:
    depthwise = step_classes(step_of(convolution(weight_shape=(64, 1, 3, 3), groups=64)), FACTS, "float32")
    moved = 2 * 8 * 64 * 28 * 28 * 4 / 800e9 * 1e3
    assert depthwise["depthwise3_bytes"] == pytest.approx(moved)
    assert depthwise[KERNELS] == 1
    half = step_classes(step_of(convolution()), FACTS, "float16")
    # 8·28·28 rows are 49 tiles of 128; 64 columns one of 64
    assert half["conv_macs"] == pytest.approx(49 * 128 * 64 * 64 * 9 / 32e12 * 1e3)
    assert half["conv_in_bytes"] == pytest.approx(8 * 64 * 28 * 28 * 2 / 800e9 * 1e3)


def test_layers_by_their_model_replace_their_classes() -> None:
    run, gpu = recording(64), model(True)
    columns, _ = network_columns(run.counted(), FACTS, "float32", gpu.layers)
    plain, _ = network_columns(run.counted(), FACTS, "float32")
    assert columns["layers_ms"] > 0
    assert not any(name.startswith(("conv", "linear", "stem", "depthwise")) for name in columns)
    assert columns[KERNELS] == plain[KERNELS]


def test_rates_are_found_again_also_on_families_left_out() -> None:
    generator = np.random.default_rng(0)
    truth = Rates(inverse={"a_macs": 2.0, "b_bytes": 1.2, "c_bytes": 3.0})
    nets = [{name: float(generator.gamma(2)) for name in truth.inverse} for _ in range(80)]
    times = np.array([truth.sum_ms(n) for n in nets]) * np.exp(0.02 * generator.standard_normal(80))
    found = fit_rates(nets, times, firmness=0.02)
    assert {k: found.of(k) for k in truth.inverse} == pytest.approx(truth.inverse, rel=0.08)
    guess = left_out(nets, times, [str(i % 8) for i in range(80)])
    assert np.median(np.abs(guess / times - 1)) < 0.03


def test_launch_is_found_where_it_binds() -> None:
    generator = np.random.default_rng(1)
    truth = Rates(inverse={"a_bytes": 1.5}, kernel_ms=0.0, launch_ms=0.03, constant_ms=0.5, sharpness=3.0)
    nets = [{"a_bytes": float(generator.gamma(2)), KERNELS: float(generator.integers(30, 600))} for _ in range(40)]
    times = np.array([truth.whole_ms(n) for n in nets])
    found = fit_networks(nets, times, base=Rates(inverse={"a_bytes": 1.2}, kernel_ms=0.0), launches=True)
    assert found.launch_ms == pytest.approx(0.03, rel=0.15)
