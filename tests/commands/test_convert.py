import json
from pathlib import Path

import pytest

from advisor.cli import run
from advisor.devices.profile import load_profile
from advisor.network import Network
from tests.devices.conftest import network_of
from tests.devices.synthetic import all_executions, profile_of
from tests.devices.tables.test_spdy import table


@pytest.fixture
def network() -> Network:
    return network_of("zoo:digits_cnn")


def test_there_and_back(network: Network, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    mine, csv, again = (str(tmp_path / name) for name in ("mine.json", "mine.csv", "again.json"))
    profile_of(network, all_executions(network, {}).values()).save(mine)
    assert run(["convert", mine, "--out", csv, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["rows"] == 5
    assert run(["convert", csv, "--out", again, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["measurements"] == 5
    assert load_profile(again).measurements == load_profile(mine).measurements
    assert run(["latency", "zoo:digits_cnn", "--profile", again]) == 0


def test_spdy_to_a_plan(network: Network, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "digits_unstr.txt", str(tmp_path / "digits.json")
    source.write_text(table(network))
    assert run(["convert", str(source), "--model", "zoo:digits_cnn", "--out", out]) == 0
    assert "zoo:digits_cnn 1x1x40x40: 60.000 ms" in capfd.readouterr().out
    plan = ["plan", "zoo:digits_cnn", "--profile", out, "--budget", "latency=70%", "--patterns", "channel", "--json"]
    assert run(plan) == 0
    latency = json.loads(capfd.readouterr().out)["costs"]["latency"]
    assert latency["plan"] <= latency["budget"] == pytest.approx(42.0)


def test_a_bad_row_leaves_nothing_behind(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "t.csv", tmp_path / "out.json"
    source.write_text("kind,method,input_shape,weight_shape,ms\nlinear,dense,1x8,8x8,1\nlinear,dense,1x8,8x8,x\n")
    assert run(["convert", str(source), "--out", str(out)]) == 2
    error = capfd.readouterr().err
    assert "row 3, column kind: the same work as row 2" in error
    assert error.count("\n") == 1
    source.write_text(source.read_text().replace("8x8,x", "9x8,x"))
    assert run(["convert", str(source), "--out", str(out)]) == 2
    assert "t.csv row 3, column ms: got 'x', expected a time in ms above 0" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == [source]


def test_out_must_be_of_the_other_kind(network: Network, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    mine = str(tmp_path / "mine.json")
    profile_of(network, all_executions(network, {}).values()).save(mine)
    assert run(["convert", mine, "--out", str(tmp_path / "x.json")]) == 2
    assert "must end with .csv" in capfd.readouterr().err
    (tmp_path / "x.csv").write_text("kind,method,input_shape,weight_shape,ms\nlinear,dense,1x8,8x8,1\n")
    assert run(["convert", str(tmp_path / "x.csv"), "--out", str(tmp_path / "y.csv")]) == 2
    assert "must not end with .csv" in capfd.readouterr().err
    assert run(["convert", "energy-45nm", "--out", str(tmp_path / "y.csv")]) == 2
    assert "no table to write" in capfd.readouterr().err
