"""`advisor calibrate`: from a table or a datasheet to a profile that holds coefficients and no measurement."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from advisor.cli import run
from advisor.devices.gpu.calibrate import unseen
from advisor.devices.gpu.facts import Facts, only_device, read_datasheet
from advisor.devices.gpu.model import GpuModel
from advisor.devices.gpu.table import COLUMNS
from advisor.errors import ProfileError
from tests.devices.gpu.examples import FACTS, made_up_table

SHEET = "device,sm_count,boost_mhz,fp32_tflops,bandwidth_gb_s,l2_mb,fp16_tflops,source\n"
ROW = "Example,80,1500,16,800,6,64,made up\n"


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    path = tmp_path / "sheet.csv"
    path.write_text(SHEET + ROW, encoding="utf-8")
    return path


def table(folder: Path, count: int) -> Path:
    made, _ = made_up_table(count)
    path, s = folder / "table.csv", made.shapes
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for i in range(count):
            sizes = [int(getattr(s, name)[i]) for name in ("n", "c_in", "c_out", "h", "w", "kh", "stride", "padding")]
            writer.writerow(["conv2d", *sizes, 1, "float32", made.times[i]])
    return path


def calibrate(sheet: Path, *words: str) -> int:
    return run(["calibrate", "--datasheet", str(sheet), "--name", "x", *words])


def test_a_datasheet_alone_gives_an_analytic_profile_with_a_wide_interval(
    sheet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.json"
    assert calibrate(sheet, "--out", str(out), "--json") == 0
    said = json.loads(capsys.readouterr().out)
    document = json.loads(out.read_text(encoding="utf-8"))
    assert said["origin"] == document["origin"] == "analytic"
    assert document["measurements"] == []
    assert "GPUs left out" in document["error"]["method"]
    assert any("no measurement of this GPU" in note for note in document["notes"])
    model = GpuModel.from_document(document["model"])
    assert model.layers is not None
    assert model.facts.fp32_tflops == 16
    assert max(model.layers.interval.above) > 0.15


def test_few_rows_scale_and_many_rows_fit(sheet: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.json"
    assert calibrate(sheet, "--measurements", str(table(tmp_path, 20)), "--out", str(out)) == 0
    few = json.loads(out.read_text(encoding="utf-8"))
    assert few["origin"] == "calibrated"
    assert few["model"]["layers"]["offset"] != 0
    assert any("too few rows (20)" in note for note in few["notes"])
    assert calibrate(sheet, "--measurements", str(table(tmp_path, 90)), "--source", "ours", "--out", str(out)) == 0
    many = json.loads(out.read_text(encoding="utf-8"))
    assert many["source"].startswith("ours")
    assert many["error"]["count"] == 90
    assert many["error"]["median_percent"] < few["error"]["median_percent"]
    assert many["error"]["median_percent"] < 10
    assert out.stat().st_size < 400_000


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--device", "Exampel"], "did you mean 'Example'"),
        (["--dtype", "float23"], "--dtype: unknown dtype 'float23'"),
        (["--measurements", "none.csv"], "none.csv"),
    ],
)
def test_mistakes_are_one_line_and_status_2(
    sheet: Path, tmp_path: Path, words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate(sheet, *words, "--out", str(tmp_path / "x.json")) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1
    assert not (tmp_path / "x.json").exists()


def test_a_wrong_row_is_named_with_its_column(sheet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(",".join(COLUMNS) + "\nconv2d,1,8,8,9,9,3,1,1,1,float32,fast\n", encoding="utf-8")
    assert calibrate(sheet, "--measurements", str(path), "--out", str(tmp_path / "x.json")) == 2
    assert "bad.csv: row 2, column ms: got 'fast'" in capsys.readouterr().err


def test_datasheets_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    path.write_text(SHEET + ROW + "Other,80,,16,800,6,,\n", encoding="utf-8")
    assert read_datasheet(path, "Example").source == "made up"
    with pytest.raises(ProfileError, match=r"row 3 \(Other\), column boost_mhz: empty"):
        read_datasheet(path, "Other")
    with pytest.raises(ProfileError, match="holds 2 devices; choose one with --device"):
        only_device(path)
    with pytest.raises(ProfileError, match="sm_count got -1"):
        Facts.from_document(FACTS.to_document() | {"sm_count": -1})
    with pytest.raises(ProfileError, match="unknown colour"):
        Facts.from_document(FACTS.to_document() | {"colour": 1})


def test_what_is_known_of_gpus_in_general_loads() -> None:
    known = unseen()
    assert "float32" in known.layers
    assert {"float16", "float32"} <= set(known.rates)
    assert "DeepBench" in known.source
