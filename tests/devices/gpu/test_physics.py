"""The formula: the roofline by hand, the ways apart, and monotone where physics is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.devices.gpu.physics import Coefficients, is_winograd, physics_ms, roofline_ms, work
from advisor.devices.gpu.physics_fit import fit_physics
from advisor.devices.gpu.shapes import from_rows
from advisor.errors import ProfileError
from tests.devices.gpu.examples import FACTS, linear, made_up_table, row


def times(*rows: dict[str, object]) -> list[float]:
    return physics_ms(work(from_rows(rows), FACTS), Coefficients()).tolist()


def test_roofline_of_a_large_product_is_its_multiply_adds() -> None:
    # 4096^3 multiply-adds at 8e12 a second
    assert roofline_ms(from_rows([linear(4096, 4096, 4096)]), FACTS)[0] == pytest.approx(4096**3 / 8e12 * 1e3)


def test_roofline_of_a_thin_product_is_its_bytes() -> None:
    expected = 4 * (4096 * 4096 + 2 * 4096) / 800e9 * 1e3
    assert roofline_ms(from_rows([linear(1, 4096, 4096)]), FACTS)[0] == pytest.approx(expected)


def test_half_precision_runs_on_tensor_cores() -> None:
    rows = [linear(4096, 4096, 4096, dtype=dtype) for dtype in ("float32", "float16")]
    plain, half = roofline_ms(from_rows([rows[0]]), FACTS)[0], roofline_ms(from_rows([rows[1]]), FACTS)[0]
    assert plain / half == pytest.approx(64 / 16)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"stride": 2, "stride_w": 2}, False),
        ({"kh": 5, "kw": 5}, False),
        ({"groups": 2}, False),
        ({"dtype": "float16"}, False),
    ],
)
def test_winograd_is_for_3x3_with_stride_1_in_single_precision(changes: dict[str, object], expected: bool) -> None:
    assert is_winograd(from_rows([row(**changes)])).tolist() == [expected]


def test_winograd_makes_a_large_3x3_faster_than_its_multiply_adds() -> None:
    large = row(n=64, c_in=512, c_out=512, h=28, w=28)
    assert times(large)[0] < roofline_ms(from_rows([large]), FACTS)[0] / Coefficients().gemm


def test_a_layer_takes_at_least_its_launch() -> None:
    assert times(linear(1, 8, 8))[0] >= Coefficients().launch_ms


@given(
    n=st.integers(1, 300), c_in=st.integers(1, 600), c_out=st.integers(1, 600), side=st.integers(3, 60),
    kernel=st.sampled_from([1, 3, 5]), what=st.sampled_from(["n", "c_in", "c_out"]), more=st.integers(1, 200),
)  # fmt: skip
def test_more_images_or_channels_never_take_less(
    n: int, c_in: int, c_out: int, side: int, kernel: int, what: str, more: int
) -> None:
    small = row(n=n, c_in=c_in, c_out=c_out, h=side, w=side, kh=kernel, kw=kernel, padding=2, padding_w=2)
    large = small | {what: int(str(small[what])) + more}
    before, after = times(small, large)
    assert after >= before * (1 - 1e-12)


def test_coefficients_are_found_again() -> None:
    table, _ = made_up_table(400, noise=0.02)
    found = fit_physics(work(table.shapes, FACTS), table.times)
    assert found.gemm == pytest.approx(0.6, rel=0.1)
    assert found.memory == pytest.approx(0.8, rel=0.15)
    assert found.launch_ms == pytest.approx(0.03, rel=0.15)


def test_round_trip_and_refusals() -> None:
    document = Coefficients().to_document()
    assert Coefficients.from_document(document) == Coefficients()
    with pytest.raises(ProfileError, match="gemm got -1"):
        Coefficients.from_document(document | {"gemm": -1})
    with pytest.raises(ProfileError, match="expected"):
        Coefficients.from_document({"gemm": 1.0})
    assert np.isfinite(list(document.values())).all()
