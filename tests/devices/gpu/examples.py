"""A small made-up GPU, and layers on it."""

from __future__ import annotations

from typing import Any

import numpy as np

from advisor.devices.gpu.facts import Facts
from advisor.devices.gpu.physics import Coefficients, physics_ms, work
from advisor.devices.gpu.shapes import Array, from_rows
from advisor.devices.gpu.table import Table, to_table

FACTS = Facts(
    device="Example", sm_count=80, boost_mhz=1500, fp32_tflops=16, bandwidth_gb_s=800, l2_mb=6, fp16_tflops=64
)


def row(**changes: Any) -> dict[str, Any]:
    """A 3x3 convolution with what you change."""
    plain = {
        "kind": "conv2d", "n": 8, "c_in": 64, "c_out": 64, "h": 56, "w": 56, "kh": 3, "kw": 3, "stride": 1,
        "stride_w": 1, "padding": 1, "padding_w": 1, "groups": 1, "dtype": "float32", "ms": 1.0, "order": None,
    }  # fmt: skip
    return plain | changes


def linear(rows: int, c_in: int, c_out: int, **changes: Any) -> dict[str, Any]:
    plain = {"h": 1, "w": 1, "kh": 1, "kw": 1, "padding": 0, "padding_w": 0}
    return row(kind="linear", n=rows, c_in=c_in, c_out=c_out, **(plain | changes))


def made_up_table(count: int, *, noise: float = 0.05, drift_ms: float = 0.0, seed: int = 0) -> tuple[Table, Array]:
    """`count` layers whose times follow the formula with noise (a factor) and a drift along the session (a sum).

    Returns:
        The table, and its times without drift.
    """
    generator = np.random.default_rng(seed)
    rows = []
    for index in range(count):
        c_in, c_out = (int(2 ** generator.uniform(3, 10)) for _ in range(2))
        side, kernel = int(2 ** generator.uniform(2.5, 6)), int(generator.choice([1, 3, 5]))
        n = int(2 ** generator.uniform(0, 6))
        rows.append(
            row(n=n, c_in=c_in, c_out=c_out, h=side, w=side, kh=kernel, kw=kernel, padding=kernel // 2,
                padding_w=kernel // 2, order=index)
        )  # fmt: skip
    truth = physics_ms(work(from_rows(rows), FACTS), Coefficients(gemm=0.6, memory=0.8, launch_ms=0.03))
    clean = truth * np.exp(noise * generator.standard_normal(count))
    times = clean + drift_ms * np.arange(count) / count
    for item, ms in zip(rows, times, strict=True):
        item["ms"] = float(ms)
    return to_table(rows), clean
