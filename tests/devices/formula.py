"""A device whose times come from a formula, and networks drawn as steps alone: a suite without a clock or a tensor."""

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from math import exp, prod
from typing import Any
from unittest.mock import patch
from zlib import crc32

import numpy as np

from advisor.devices.model.steps_of import step_of
from advisor.devices.profile import Profile
from advisor.devices.settings import ANY_BATCH, Settings
from advisor.devices.steps.document import step_document
from advisor.devices.steps.families import family_of
from advisor.devices.steps.record import Recording
from advisor.devices.steps.step import Step
from advisor.devices.suite.records import key_of, tables_of
from advisor.devices.suite.table import Table
from advisor.network import Shape
from advisor.runtime.execution import Execution
from tests.devices.synthetic import MACHINE

PIECES = 24
KERNEL_US, VIEW_US, MODULE_US, SHARE = 3.0, 1.5, 4.0, 0.02
NOISE = 0.05


def step_ms(step: Step) -> float:
    """40 GMAC/s (20 for sparse layers), 8 GB/s, 2 us a call; all of them, so that nothing is hidden behind anything."""
    if step.family == "view":
        return 0.0005
    speed = 20e9 if "sparse" in step.target else 40e9
    return 1e3 * (step.macs / speed + step.bytes_moved / 8e9 + 2e-6)


def whole_ms(found: Recording) -> float:
    """What a run takes, no noise in it."""
    return _whole(found, sum(step_ms(step) for step in found.steps if step.family != "view"))


def _whole(found: Recording, kernels_ms: float) -> float:
    views = sum(step.family == "view" for step in found.steps)
    calls_us = KERNEL_US * (len(found.steps) - views) + VIEW_US * views + MODULE_US * found.module_calls
    return kernels_ms * (1 + SHARE) + calls_us / 1e3


def operator(target: str, inputs: tuple[Shape, ...], output: Shape, *parameters: int, in_place: bool = False) -> Step:
    """One that is no layer, as `record_steps` describes it."""
    return Step(
        target=target,
        family=family_of(target),
        inputs=inputs,
        layouts="c" * len(inputs),
        outputs=(output,),
        parameters=parameters,
        dtype="float32",
        read_bytes=4 * sum(prod(shape) for shape in inputs),
        written_bytes=4 * prod(output),
        in_place=in_place,
    )


def view(given: Shape, output: Shape) -> Step:
    return Step(
        target="view", family="view", inputs=(given,), layouts="c", outputs=(output,), parameters=(), dtype="float32",
        read_bytes=0, written_bytes=0,
    )  # fmt: skip


def sparse_of(e: Execution, rng: np.random.Generator) -> Execution:
    """The layer with drawn connections, in blocks of outputs."""
    block = int(rng.choice([b for b in (1, 4, 8, 16) if e.out_channels % b == 0]))
    blocks, reach = e.out_channels // block, e.in_channels
    kept = max(int(blocks * reach * exp(rng.uniform(-3.5, -0.3))), blocks)
    return replace(e, method="direct", kept=kept, block=block)


def steps_of(number: int, variant: str) -> Iterator[Step]:
    """A network like a small VGG: convolutions, activations, additions, pooling, a classifier."""
    rng = np.random.default_rng([7, number])
    batch, side, c = int(rng.choice([1, 1, 2, 4])), int(rng.choice([20, 28, 40, 56])), int(rng.choice([1, 3, 16, 32]))
    for _ in range(int(rng.integers(4, 11))):
        wide, k = int(rng.choice([16, 32, 48, 64, 96, 128])), int(rng.choice([1, 3, 3, 5]))
        layer = Execution(
            kind="conv2d", method="dense", input_shape=(batch, c, side, side), weight_shape=(wide, c, k, k),
            stride=(1, 1), padding=(k // 2, k // 2), dilation=(1, 1), bias=True,
        )  # fmt: skip
        if variant == "sparse" and c >= 8 and rng.random() < 0.8:
            layer = sparse_of(layer, rng)
        yield step_of(layer)
        c, shape = wide, (batch, wide, side, side)
        yield operator("relu", (shape,), shape, in_place=bool(rng.random() < 0.5))
        if rng.random() < 0.4:
            yield operator("add", (shape, shape), shape)
        if side >= 8 and rng.random() < 0.4:
            name = str(rng.choice(["advisor.max_pool2d", "advisor.avg_pool2d"]))
            yield operator(name, (shape,), (batch, c, side // 2, side // 2), 2, 2, 0, 1, 0)
            side //= 2
    yield operator("mean", ((batch, c, side, side),), (batch, c), 2, 3, 0)
    yield view((batch, c), (batch, c, 1))
    classes = int(rng.choice([10, 100, 256, 1000]))
    last = Execution(kind="linear", method="dense", input_shape=(batch, c), weight_shape=(classes, c), bias=True)
    yield step_of(sparse_of(last, rng) if variant == "sparse" else last)


@lru_cache(maxsize=256)
def recording(number: int, variant: str = "dense") -> Recording:
    steps = tuple(steps_of(number, variant))
    return Recording(steps=steps, modules=("",) * len(steps), module_calls=len(steps) * 2 // 3)


def record_of(number: int, variant: str, *, threads: int = 1, training: bool = False) -> dict[str, Any]:
    """A line of the suite's journal."""
    found = recording(number, variant)
    rng = np.random.default_rng(crc32(f"{number} {variant} {threads} {training}".encode()))
    ms = [step_ms(step) * exp(NOISE * float(rng.standard_normal())) / threads for step in found.steps]
    kernels = sum(t for t, step in zip(ms, found.steps, strict=True) if step.family != "view")
    return {
        "key": key_of(number, variant, threads, training),
        "steps": [step_document(step) for step in found.steps],
        "ms": ms,
        "whole_ms": _whole(found, kernels) * exp(0.01 * float(rng.standard_normal())),
        "reference_ms": 1.5,
        "module_calls": found.module_calls,
        "waited": 0.0,
        "seconds": 0.5,
    }


def records(pieces: int = PIECES, **setting: Any) -> list[dict[str, Any]]:
    return [record_of(number, variant, **setting) for number in range(pieces) for variant in ("dense", "sparse")]


@lru_cache(maxsize=1)
def tables() -> tuple[Table, ...]:
    """One thread, inference; few rounds of boosting, so that it is quick."""
    with patch("advisor.devices.model.learner._ROUNDS", 20):
        return tables_of(records())


@lru_cache(maxsize=1)
def device_profile() -> Profile:
    """A profile as the suite writes it; its learners are fitted when it is first asked."""
    return Profile(
        name="formula",
        origin="measured",
        source="a formula",
        created="2026-01-01",
        machine=MACHINE,
        settings=Settings(device="cpu", batch=ANY_BATCH, threads=1, dtype="float32", training=False),
        measurements={},
        networks={},
        error=dict(tables()[0].error),
        tables=tables(),
    )
