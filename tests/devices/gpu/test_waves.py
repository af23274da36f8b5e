"""Tiles and rounds, counted by hand."""

import numpy as np
import pytest

from advisor.devices.gpu.waves import ceil_div, padded_macs, rounds, tiles


def array(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)


def test_tiles_cover_the_product() -> None:
    # 1000 x 200 with 128 x 64: 8 rows of tiles, 4 columns
    assert tiles(array(1000), array(200), (128, 64)).tolist() == [32]


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (80, 1), (81, 2), (160, 2), (161, 3)])
def test_one_tile_too_many_takes_a_whole_round(count: int, expected: int) -> None:
    assert rounds(array(count), 80).tolist() == [expected]


def test_padded_macs_by_hand() -> None:
    # 129 rows: 2 tiles of 128; 64 columns: 1 tile; 2 products: 4 tiles; 3 processors: 2 rounds of 3.
    # Depth 9 is read as 16: 2 · 3 · 128 · 64 · 16
    found = padded_macs(array(129), array(64), array(9), array(2), tile=(128, 64), sm_count=3)
    assert found.tolist() == [2 * 3 * 128 * 64 * 16]


def test_ceil_div_is_exact_for_large_numbers() -> None:
    assert ceil_div(array(2**40 + 1), 2).tolist() == [2**39 + 1]
