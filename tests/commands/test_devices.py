import json
from pathlib import Path

import pytest
import torch

from advisor.cli import run
from advisor.devices.here import pattern_runs, profiles_in
from advisor.patterns.base import pattern_names
from tests.devices.conftest import network_of
from tests.devices.synthetic import all_executions, profile_of


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where we are, with one profile, one broken one and one other document in it."""
    network = network_of("zoo:digits_cnn")
    profile_of(network, all_executions(network, {}).values()).save(tmp_path / "mine.json")
    (tmp_path / "broken.json").write_text('{"schema": "sparsity-advisor/profile-1", "name": ')
    (tmp_path / "plan.json").write_text('{"schema": "sparsity-advisor/plan-1"}')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_json_lists_profiles_machines_and_patterns(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["devices", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    by_name = {item["name"]: item for item in document["profiles"]}
    assert by_name["energy-45nm"]["origin"] == "analytic"
    assert by_name["synthetic"]["file"] == "mine.json"
    assert by_name["synthetic"]["measurements"] == 5
    assert by_name["synthetic"]["device"] == "Roofline"
    assert len(document["unreadable"]) == 1
    assert document["unreadable"][0].startswith("broken.json: not JSON")
    assert document["machines"]["cpu"]["torch"] == str(torch.__version__)
    assert {item["pattern"] for item in document["patterns"]} == set(pattern_names())


@pytest.mark.usefixtures("folder")
def test_the_table_has_name_origin_and_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["devices"]) == 0
    text = capsys.readouterr().out
    for words in ("profile", "origin", "median error", "mine.json", "energy-45nm", "this machine: ", "group"):
        assert words in text
    assert "note: broken.json" in text


@pytest.mark.usefixtures("folder")
def test_a_file_that_was_asked_for_must_be_a_profile(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["devices", "plan.json"]) == 2
    assert "profile plan.json: at" in capsys.readouterr().err
    assert run(["devices", "mine.json", "--json"]) == 0
    listed = [item["file"] for item in json.loads(capsys.readouterr().out)["profiles"]]
    assert listed.count("mine.json") == 1


def test_how_patterns_run_says_what_runs() -> None:
    runs = {item.pattern: item for item in pattern_runs()}
    assert set(runs) == set(pattern_names())
    assert {name for name, item in runs.items() if item.faster} == {"group", "width"}
    for name in ("channel", "block", "n:m", "unstructured"):
        assert "no faster" in runs[name].inference


@pytest.mark.usefixtures("with_kernels")
def test_with_kernels_everything_is_faster_somewhere() -> None:
    runs = {item.pattern: item for item in pattern_runs()}
    assert {name for name, item in runs.items() if item.faster} == set(pattern_names()) - {"dense"}
    assert runs["channel"].inference == runs["group"].training == "sparse kernels, kept weights alone"
    for name in ("block", "n:m", "unstructured"):
        assert runs[name].inference.startswith("1x1 and linear: sparse kernels")
        assert runs[name].training.endswith("others: kept values scattered, dense kernel: no faster")


def test_only_files_that_say_they_are_profiles(folder: Path) -> None:
    assert [path.name for path in profiles_in(folder)] == ["broken.json", "mine.json"]


@pytest.mark.usefixtures("folder", "with_kernels")
def test_the_sparse_kernels_have_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["devices", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["kernels"]
    assert found == {"available": True, "isa": "test", "why_not": "", "instead": ""}
    assert run(["devices"]) == 0
    assert "\nsparse kernels: test\n" in capsys.readouterr().out


@pytest.mark.usefixtures("folder")
def test_missing_kernels_have_a_reason_and_a_substitute(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["devices", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["kernels"]
    assert (found["available"], found["isa"], found["why_not"]) == (False, "", "switched off by a test")
    assert "gathering" in found["instead"]
    assert run(["devices"]) == 0
    assert "sparse kernels: none, switched off by a test. Until then: torch alone" in capsys.readouterr().out


@pytest.mark.usefixtures("folder")
def test_it_says_how_fast_gpu_kernels_were(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["devices", "--json"]) == 0
    gpu = json.loads(capsys.readouterr().out)["gpu_kernels"]
    assert gpu["available"] == (gpu["why_not"] == "")
    assert "NVIDIA H100" in gpu["measured"]
    assert run(["devices"]) == 0
    assert gpu["measured"] in capsys.readouterr().out
