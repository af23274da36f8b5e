"""A profile from a suite whose law is known: it must come out of the fit again."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from advisor.devices.document import from_document
from advisor.devices.gpu.columns import network_columns
from advisor.devices.gpu.facts import Facts
from advisor.devices.gpu.own_fit import OwnLayers, OwnPiece, own_profile
from advisor.devices.gpu.physics import Coefficients, physics_ms, work
from advisor.devices.gpu.rates import Rates
from advisor.devices.gpu.shapes import from_executions
from advisor.devices.gpu.sparse_layers import SparseTimes, dense_of, fit_sparse
from advisor.devices.settings import Machine, Settings
from advisor.devices.steps.step import Step
from advisor.errors import ProfileError
from advisor.runtime.execution import Execution
from tests.devices.cuda.conftest import conv, linear

FACTS = Facts(device="G", sm_count=100, boost_mhz=1500, fp32_tflops=20, bandwidth_gb_s=1000, l2_mb=40, fp16_tflops=200)
LAW = Rates(inverse={"relu_bytes": 1.3, "add_bytes": 1.4}, kernel_ms=0.002, launch_ms=0.009, constant_ms=0.03)
SETTINGS = Settings(
    device="cuda", batch=0, threads=1, dtype="float16", training=False, number="fp16", channels_last=True
)
MACHINE = Machine(name="G", flags=("sm_90",), cores=8, torch="2.11", system="Linux")


def layer_step(e: Execution) -> Step:
    from advisor.devices.gpu.model import step_of

    return step_of(e)


def plain_step(target: str, elements: int) -> Step:
    shape = (1, elements)
    return Step(
        target=target,
        family="activation" if target == "relu" else "arithmetic",
        inputs=(shape,),
        layouts="c",
        outputs=(shape,),
        parameters=(),
        dtype="float32",
        read_bytes=4 * elements,
        written_bytes=4 * elements,
    )


def drawn(count: int) -> tuple[list[OwnPiece], OwnLayers]:
    """Pieces of dense layers and additions that take what the law says, with 2 % of noise."""
    rng = np.random.default_rng(0)
    physics = Coefficients(tensor=0.5, memory=0.8, launch_ms=0.002)

    def execution() -> Execution:
        inputs, outputs = (int(16 * 2 ** rng.integers(0, 6)) for _ in range(2))
        if rng.random() < 0.5:
            return linear(inputs=inputs, outputs=outputs, rows=int(2 ** rng.integers(4, 15)))
        kernel = int(rng.choice([1, 3]))
        return conv(inputs, outputs, kernel, batch=int(2 ** rng.integers(0, 7)), size=int(rng.choice([7, 14, 28, 56])))

    def ms_of(e: Execution) -> float:
        shapes = from_executions([e], "float16")
        return float(physics_ms(work(shapes, FACTS), physics)[0] * np.exp(rng.normal(0, 0.02)))

    layers: dict[Execution, float] = {}
    pieces = []
    for index in range(count):
        mine = [execution() for _ in range(int(rng.integers(3, 12)))]
        layers |= {e: ms_of(e) for e in mine if e not in layers}
        others = [plain_step(str(rng.choice(["relu", "add"])), int(10 ** rng.uniform(4, 7.5))) for _ in mine]
        counted = Counter([layer_step(e) for e in mine] + others)
        columns, _ = network_columns(Counter(others), FACTS, "float16")
        gpu = sum(layers[e] for e in mine) + LAW.sum_ms(columns)
        eager = LAW.joined_ms(gpu, LAW.launch_ms * 2 * len(mine))
        noise = np.exp(rng.normal(0, 0.02, 2))
        pieces.append(
            OwnPiece(family="abcd"[index % 4], counted=counted, eager_ms=eager * noise[0], graph_ms=gpu * noise[1])
        )
    sparse = {}
    for e in [e for e in layers if e.kind == "linear" and e.out_channels >= 32][:40]:
        kept = max(1, round(float(rng.choice([0.5, 0.25, 0.125])) * e.in_channels))
        thin = replace(e, method="gather", kept=kept, block=16)
        sparse[thin] = layers[e] * 2.0 * (kept / e.in_channels) ** 0.5
    return pieces, OwnLayers(dense=layers, sparse=sparse)


def test_the_law_comes_out_again() -> None:
    pieces, layers = drawn(60)
    made = own_profile(
        "g", FACTS, "float16", pieces, layers, settings=SETTINGS, machine=MACHINE, source="a law", trees=40
    )
    made = json.loads(json.dumps(made))
    profile = from_document(made, "g")
    assert profile.settings == SETTINGS
    assert made["error"]["median_percent"] < 6
    assert made["error"]["graph_median_percent"] < 6
    assert made["error"]["count"] == 60
    model = profile.estimator
    assert model is not None
    assert model.rates.launch_ms == pytest.approx(LAW.launch_ms, rel=0.15)  # type: ignore[attr-defined]
    # a layer alone costs at least its launch, a large one its own time
    small, large = linear(64, 64, 16), linear(2048, 2048, 16384)
    assert profile.latency(small).median_ms > 0.8 * LAW.launch_ms
    shapes = from_executions([large], "float16")
    assert profile.latency(large).median_ms > 0.3 * float(work(shapes, FACTS).gemm[0])
    thin, least = (replace(large, method="gather", kept=k, block=16) for k in (1024, 128))
    dense = profile.latency(large).median_ms
    assert profile.latency(least).median_ms < profile.latency(thin).median_ms
    assert profile.latency(thin).median_ms == pytest.approx(2.0 * 0.5**0.5 * dense, rel=0.5)
    assert profile.latency(replace(large, method="direct", kept=1024 * 128, block=16)).origin == "extrapolated"


def test_too_little_is_refused() -> None:
    pieces, layers = drawn(5)
    with pytest.raises(ProfileError, match="measured layers, expected 60"):
        own_profile("g", FACTS, "float16", pieces, layers, settings=SETTINGS, machine=MACHINE, source="")


def test_sparse_times_never_fall_with_density() -> None:
    rng = np.random.default_rng(1)
    executions = [
        replace(linear(256, 64, 2048), method="gather", kept=int(k), block=16) for k in rng.integers(8, 128, 30)
    ]
    dense = np.ones(30)
    against_sense = np.array([1.0 / e.kept for e in executions])
    times, residuals = fit_sparse(executions, against_sense, dense)
    assert times.coefficients[1] == 0.0
    assert residuals.shape == (30,)
    again = SparseTimes.from_document(json.loads(json.dumps(times.to_document())), "x")
    assert again.log_ratio(executions[0]) == pytest.approx(times.log_ratio(executions[0]), abs=1e-3)
    assert dense_of(executions[0]) == linear(256, 64, 2048)
    with pytest.raises(ProfileError, match="coefficients"):
        SparseTimes.from_document({"coefficients": [1.0], "interval": {}}, "x")
