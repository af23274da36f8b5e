"""Two machines that never were, as device profiles see them: the second has a factor of its own for every class."""

import math
from functools import lru_cache
from typing import Any

import numpy as np

from advisor.devices.measuring.drift import Pace
from advisor.devices.model.step_model import Class, class_of
from advisor.devices.model.sums import Between, Counts
from advisor.devices.profile import Profile
from advisor.devices.settings import ANY_BATCH, Settings
from advisor.devices.steps.document import step_document
from advisor.devices.steps.families import family_of
from advisor.devices.steps.step import Step
from advisor.devices.suite.table import PieceTimes, Table
from advisor.devices.transfer.device.design import Asked
from tests.devices.synthetic import MACHINE

FACTORS: dict[Class, float] = {"dense": 0.5, "sparse": 0.8, "product": 0.6, "operator": 1.4}
PYTHON = 1.7  # what the new machine takes longer between the steps
PIECES = range(24)
_TARGETS = ("conv2d", "relu", "add", "conv2d", "bmm", "softmax", "linear", "max_pool2d", "cat")
BETWEEN = Between(
    kernel_us=3.0, view_us=1.0, module_us=4.0, fresh_us_per_mb=0.0, share=0.02, common=0.03, single=0.05,
    below=-1.2, above=1.2,
)  # fmt: skip


def step(target: str, side: int, channels: int, batch: int) -> Step:
    shape = (batch, channels, side, side)
    moved = 4 * math.prod(shape)
    works = target in ("conv2d", "linear", "bmm", "advisor.sparse_conv2d")
    return Step(
        target=target,
        family=family_of(target, view=target == "view"),
        inputs=(shape,),
        layouts="c",
        outputs=(shape,),
        parameters=(),
        dtype="float32",
        read_bytes=moved,
        written_bytes=moved,
        macs=math.prod(shape) * channels if works else 0,
    )


def old_ms(one: Step) -> float:
    """20 GMAC/s, 8 GB/s, 4 us a call."""
    return 5e-4 if one.family == "view" else 1e3 * (one.macs / 20e9 + one.bytes_moved / 8e9 + 4e-6)


def new_ms(one: Step) -> float:
    return old_ms(one) * (1.0 if one.family == "view" else FACTORS[class_of(one)])


@lru_cache(maxsize=64)
def steps_of(number: int, variant: str) -> tuple[Step, ...]:
    rng = np.random.default_rng([7, number])
    found = []
    for index in range(10):
        target = _TARGETS[(number + index) % len(_TARGETS)]
        if variant == "sparse" and target == "conv2d":
            target = "advisor.sparse_conv2d"
        side, channels, batch = (int(rng.choice(sizes)) for sizes in ((7, 14, 28), (16, 48, 96), (1, 2)))
        found.append(step(target, side, channels, batch))
    return (*found, step("view", 7, 16, 1))


def between_ms(steps: tuple[Step, ...], kernels_ms: float, python: float) -> float:
    views = sum(one.family == "view" for one in steps)
    return python * (3.0 * (len(steps) - views) + views + 4.0 * 6) / 1e3 + 0.02 * kernels_ms


def piece(number: int, variant: str, *, threads: int = 1) -> PieceTimes:
    steps = steps_of(number, variant)
    rng = np.random.default_rng([8, number])
    ms = np.array([old_ms(one) for one in steps]) / threads * np.exp(0.02 * rng.standard_normal(len(steps)))
    kernels = float(sum(t for t, one in zip(ms, steps, strict=True) if one.family != "view"))
    return PieceTimes(
        number=number,
        variant=variant,
        steps=steps,
        ms=ms,
        whole_ms=kernels + between_ms(steps, kernels, 1.0),
        counts=Counts.of_steps(steps, 6),
    )


def runner(one: Asked, seconds: float) -> dict[str, Any]:
    """The new machine: a record as the suite keeps it; it slows down under every other piece, as its reference says."""
    assert seconds > 0
    steps, pace = steps_of(one.number, one.variant), 1.25 if one.number % 2 else 1.0
    rng = np.random.default_rng([9, one.number])
    ms = np.array([new_ms(s) for s in steps]) / one.threads * np.exp(0.02 * rng.standard_normal(len(steps)))
    kernels = float(sum(t for t, s in zip(ms, steps, strict=True) if s.family != "view"))
    return {
        "steps": [step_document(s) for s in steps],
        "ms": (pace * ms).tolist(),
        "whole_ms": pace * (kernels + between_ms(steps, kernels, PYTHON)),
        "reference_ms": pace * 0.8,
        "reference_spread": 0.0,
        # Sums of squares that say clearly that all work slows down as much as the reference.
        "together": [10.0, 10.0],
        "module_calls": 6,
        "waited": 0.0,
    }


def table(*, threads: int = 1, training: bool = False) -> Table:
    return Table(
        threads=threads,
        training=training,
        pieces=tuple(piece(n, v, threads=threads) for n in PIECES for v in ("dense", "sparse")),
        between=BETWEEN,
        intervals=dict.fromkeys(FACTORS, (-0.1, 0.1)),
        pace=Pace(reference_ms=1.5, slope=1.0),
        error={"pieces": 2 * len(PIECES)},
    )


def device_profile(*tables: Table, kernels: str = "avx2 v3") -> Profile:
    return Profile(
        name="planted",
        origin="measured",
        source="a formula",
        created="2026-01-01",
        machine=MACHINE,
        settings=Settings(
            device="cpu", batch=ANY_BATCH, threads=tables[0].threads, dtype="float32", training=False, kernels=kernels
        ),
        measurements={},
        networks={},
        tables=tables,
    )
