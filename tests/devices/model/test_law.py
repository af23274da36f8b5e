"""A device whose law is known: what is fitted on small layers tells of layers beyond them."""

from collections.abc import Callable, Iterator
from math import exp, prod

import numpy as np
import pytest

from advisor.devices.model.law import Law, weight_bytes, work_of, works_of
from advisor.devices.model.step_model import StepModel, StepTimes
from advisor.devices.model.steps_of import step_of
from advisor.devices.steps.step import Step
from advisor.runtime.execution import Execution
from tests.devices.formula import operator, sparse_of

NOISE = 0.05
CACHE = 8e6


def roofline(step: Step) -> float:
    """ms: a call of 4 us, then the slower of 40 GMAC/s (20 for sparse layers) and 20 GB/s, 8 GB/s beyond 8 MB."""
    speed = 20e9 if "sparse" in step.target else 40e9
    weights = weight_bytes(step)
    others = step.bytes_moved - weights
    memory = sum(min(n, CACHE) / 20e9 + max(n - CACHE, 0) / 8e9 for n in (weights, others))
    return 1e3 * (4e-6 + max(step.macs / speed, memory))


def sums(step: Step) -> float:
    """ms: 40 and 20 GMAC/s, 8 GB/s and 2 us a call, nothing hidden behind anything."""
    speed = 20e9 if "sparse" in step.target else 40e9
    return 1e3 * (step.macs / speed + step.bytes_moved / 8e9 + 2e-6)


def dense(weights: float, rng: np.random.Generator, *, rows: int) -> Execution:
    """A linear layer with about as many weights."""
    ratio = exp(rng.uniform(-1, 1))
    c_in, c_out = (16 * max(round((weights * r) ** 0.5 / 16), 1) for r in (ratio, 1 / ratio))
    return Execution(kind="linear", method="dense", input_shape=(rows, c_in), weight_shape=(c_out, c_in), bias=True)


def conv(channel_side: float, side: int, *, batch: int = 1) -> Execution:
    """3x3 with as many channels as `channel_side` leaves at this side."""
    c = 8 * max(round(channel_side / side / 8), 1)
    return Execution(
        kind="conv2d", method="dense", input_shape=(batch, c, side, side), weight_shape=(c, c, 3, 3), stride=(1, 1),
        padding=(1, 1), dilation=(1, 1), bias=True,
    )  # fmt: skip


def suite(rng: np.random.Generator) -> Iterator[Execution]:
    """Linear layers of up to 25 million weights, convolutions of up to 0.45 GMAC, and each with fewer connections."""
    for _ in range(350):
        layer = dense(exp(rng.uniform(np.log(1e4), np.log(2.5e7))), rng, rows=int(rng.choice([1, 1, 8])))
        yield layer
        yield sparse_of(layer, rng)
        layer = conv(exp(rng.uniform(np.log(300), np.log(7100))), int(rng.choice([7, 14, 28, 56, 112])))
        yield layer
        yield sparse_of(layer, rng)


def model_of(law: Callable[[Step], float]) -> StepModel:
    rng = np.random.default_rng(3)
    steps = tuple(step_of(e) for e in suite(rng))
    ms = np.array([law(step) * exp(NOISE * rng.standard_normal()) for step in steps])
    return StepModel(StepTimes(steps=steps, ms=ms, pieces=np.arange(len(steps)) // 20))


@pytest.fixture(scope="module", params=[roofline, sums], ids=["roofline", "sums"])
def known(request: pytest.FixtureRequest) -> tuple[StepModel, Callable[[Step], float]]:
    return model_of(request.param), request.param


def ratios(known: tuple[StepModel, Callable[[Step], float]], layers: list[Execution]) -> np.ndarray:
    model, law = known
    steps = [step_of(e) for e in layers]
    ms, beyond = model(steps)
    assert beyond.all(), "it says so"
    return ms / np.array([law(step) for step in steps])


@pytest.mark.parametrize("rows", [1, 8])
def test_a_linear_layer_four_times_as_large_is_predicted(
    known: tuple[StepModel, Callable[[Step], float]], rows: int
) -> None:
    rng = np.random.default_rng(4)
    found = ratios(known, [dense(1e8, rng, rows=rows) for _ in range(12)])
    assert np.abs(found - 1).max() < 0.15


def test_a_convolution_four_times_as_large_is_predicted(known: tuple[StepModel, Callable[[Step], float]]) -> None:
    layers = [conv(14336, side) for side in (14, 28, 56, 112)]
    assert np.abs(ratios(known, layers) - 1).max() < 0.15


@pytest.mark.parametrize(("rows", "block"), [(1, 1), (1, 16), (8, 16)])
def test_a_sparse_linear_layer_four_times_as_large_is_predicted(
    known: tuple[StepModel, Callable[[Step], float]], rows: int, block: int
) -> None:
    layers = [
        Execution(
            kind="linear", method="direct", input_shape=(rows, 25088), weight_shape=(4096, 25088),
            kept=int(density * 25088) * (4096 // block), block=block, bias=True,
        )
        for density in (0.15, 0.3, 0.5)
    ]  # fmt: skip
    assert np.abs(ratios(known, layers) - 1).max() < 0.15


def test_the_law_of_a_roofline_is_found() -> None:
    rng = np.random.default_rng(5)
    steps = [step_of(e) for e in suite(rng)]
    law = Law(works_of(steps), np.log([roofline(step) for step in steps]))
    assert law.power > 1
    assert law.cache == CACHE
    off = law(works_of(steps)) - np.log([roofline(step) for step in steps])
    assert np.quantile(np.abs(off), 0.95) < 0.1
    assert (law.coefficients >= 0).all()


def test_what_a_step_does() -> None:
    linear = step_of(Execution(kind="linear", method="dense", input_shape=(8, 100), weight_shape=(50, 100)))
    assert work_of(linear)[3] == 8 * 50 * 100
    assert work_of(linear)[-2:].tolist() == [4 * 50 * 100, linear.bytes_moved - 4 * 50 * 100]
    one = step_of(Execution(kind="linear", method="dense", input_shape=(1, 100), weight_shape=(50, 100)))
    assert work_of(one)[2] == 50 * 100
    kept = step_of(
        Execution(kind="linear", method="direct", input_shape=(1, 100), weight_shape=(48, 100), kept=30, block=16)
    )
    assert work_of(kept)[5] == 30 * 16
    assert weight_bytes(kept) == 4 * 30 * 17
    gelu = operator("gelu", ((2, 30),), (2, 30))
    assert work_of(gelu)[6] == 60
    assert work_of(operator("add", ((2, 30), (2, 30)), (2, 30)))[:7].tolist() == [0.0] * 7
    assert work_of(operator("add", ((2, 30), (2, 30)), (2, 30)))[-1] == 4 * 3 * 60


def test_odd_tables_have_a_law_too() -> None:
    """One row, rows that move nothing, and rows that are all alike."""
    for work in (np.ones((1, 9)), np.zeros((5, 9)), np.tile(np.arange(9.0), (30, 1))):
        law = Law(work, np.full(len(work), np.log(0.25)))
        assert np.exp(law(work)) == pytest.approx([0.25] * len(work), rel=0.02)
    assert prod(works_of([]).shape) == 0
