"""Tables that people write: read as meant, or refused with row and column."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from advisor.devices.gpu.table import COLUMNS, read_table
from advisor.errors import ProfileError

HEADER = ",".join(COLUMNS)
GOOD = "conv2d,8,64,128,56,56,3x5,2,1x2,1,float32,0.5"


def write(folder: Path, *lines: str) -> Path:
    path = folder / "table.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_row_is_read_as_meant(tmp_path: Path) -> None:
    table, dtype = read_table(write(tmp_path, HEADER, GOOD, "linear,32,64,10,,,,,,,float32,0.01"))
    shapes = table.shapes
    assert dtype == "float32"
    assert [shapes.kh[0], shapes.kw[0], shapes.padding[0], shapes.padding_w[0]] == [3, 5, 1, 2]
    assert [shapes.oh[0], shapes.ow[0]] == [28, 28]
    assert shapes.macs.tolist() == [8 * 128 * 28 * 28 * 64 * 15, 32 * 64 * 10]
    assert table.times.tolist() == [0.5, 0.01]
    assert table.order is None


def test_order_runs_from_0_to_1(tmp_path: Path) -> None:
    table, _ = read_table(write(tmp_path, HEADER + ",order", GOOD + ",30", GOOD + ",10", GOOD + ",20"))
    assert table.order is not None
    assert np.allclose(table.order, [1.0, 0.0, 0.5])


def test_batches_of_one_shape_are_one_shape(tmp_path: Path) -> None:
    other = GOOD.replace("conv2d,8", "conv2d,16")
    table, _ = read_table(
        write(tmp_path, HEADER, GOOD, other, "linear,1,8,8,,,,,,,float32,1", "linear,9,8,8,,,,,,,float32,1")
    )
    keys = table.shapes.identities()
    assert keys[0] == keys[1]
    assert keys[2] == keys[3]
    assert len(set(keys)) == 2


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("pool,8,64,128,56,56,3,2,1,1,float32,0.5", "row 3, column kind: got 'pool', expected conv2d or linear"),
        ("conv2d,8.5,64,128,56,56,3,2,1,1,float32,0.5", "row 3, column n: got '8.5', expected a whole number"),
        ("conv2d,8,0,128,56,56,3,2,1,1,float32,0.5", "row 3, column c_in: got '0'"),
        ("conv2d,8,64,128,56,56,3x3x3,2,1,1,float32,0.5", "row 3, column kernel: got '3x3x3'"),
        ("conv2d,8,64,128,56,56,3,2,-1,1,float32,0.5", "row 3, column padding: got '-1'"),
        ("conv2d,8,64,128,56,56,3,2,1,5,float32,0.5", "row 3, column groups: 5 does not divide"),
        ("conv2d,8,64,128,56,56,3,2,1,1,fp32,0.5", "row 3, column dtype: got 'fp32'"),
        ("conv2d,8,64,128,56,56,3,2,1,1,float32,-1", "row 3, column ms: got '-1'"),
        ("conv2d,8,64,128,56,56,3,2,1,1,float32,nan", "row 3, column ms: got 'nan'"),
        ("conv2d,8,64,128,56,56,3,2,1,1,float32,", "row 3, column ms: got ''"),
        ("conv2d,8,64,128,2,56,7,2,0,1,float32,1", "row 3, column kernel: 7x7 is larger"),
        ("linear,8,64,128,5,,,,,,float32,1", "row 3, column kernel: a linear layer has none"),
        ("conv2d,8,64", "row 3: not as many fields"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, line: str, complaint: str) -> None:
    with pytest.raises(ProfileError) as caught:
        read_table(write(tmp_path, HEADER, GOOD, line))
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="row 1 has no column dtype, ms"):
        read_table(write(tmp_path, ",".join(COLUMNS[:-2]), "conv2d,8,64,128,56,56,3,2,1,1"))


def test_two_dtypes_ask_for_a_choice(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER, GOOD, GOOD.replace("float32", "float16"))
    with pytest.raises(ProfileError, match="holds dtypes float16, float32; choose one with --dtype"):
        read_table(path)
    assert len(read_table(path, "float16")[0]) == 1
    with pytest.raises(ProfileError, match="no row with dtype tf32"):
        read_table(path, "tf32")


def test_no_file_and_no_rows(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="expected a CSV file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(ProfileError, match="no rows below the header"):
        read_table(write(tmp_path, HEADER))
