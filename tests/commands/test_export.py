"""`advisor export`: one document or a few lines, files beside the plan, and one line for every mistake."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import torch
from safetensors.numpy import load_file

import advisor
from advisor.cli import run
from advisor.plans.export import plan_digest, read_provenance
from advisor.plans.plan import load_plan
from tests.plans.export.samples import SHAPE, masked, narrowed, plain

FACTORY = f"{Path(__file__).parent.parent / 'plans' / 'export' / 'samples.py'}:plain"
MODEL = ["--model", FACTORY, "--input", "2x16x8x8"]


@pytest.fixture
def plan_file(tmp_path: Path) -> str:
    masked().save(tmp_path / "my.json")
    return str(tmp_path / "my.json")


@pytest.mark.parametrize(
    ("to", "written"),
    [
        ("masks", ["my.masks.safetensors"]),
        ("torch-prune", ["my.torch-prune.safetensors"]),
        ("modelopt", ["my.modelopt.json", "my.masks.safetensors"]),
        ("llm-compressor", ["my.recipe.yaml", "my.masks.safetensors"]),
    ],
)
def test_files_beside_the_plan(to: str, written: list[str], plan_file: str, capfd: pytest.CaptureFixture[str]) -> None:
    folder = Path(plan_file).parent
    assert run(["export", plan_file, "--to", to, "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["files"] == [str(folder / name) for name in written]
    assert document["plan_sha256"] == plan_digest(load_plan(plan_file))
    assert sorted(path.name for path in folder.iterdir()) == sorted(["my.json", *written])
    assert read_provenance(document["files"][0], to)["plan_sha256"] == document["plan_sha256"]
    assert run(["export", plan_file, "--to", to]) == 0  # and once more over the same files
    text = capfd.readouterr().out
    assert f"wrote {folder / written[0]}" in text
    assert "kept weights" in text


def test_the_network_is_compared_first(plan_file: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["export", plan_file, "--to", "masks", *MODEL]) == 0
    assert run(["export", plan_file, "--to", "masks", "--model", "zoo:digits_cnn"]) == 2
    error = capfd.readouterr().err
    assert "the plan belongs to another network" in error
    assert error.count("\n") == 1


def test_width_to_torch_pruning(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    narrowed().save(tmp_path / "my.json")
    assert run(["export", str(tmp_path / "my.json"), "--to", "torch-pruning", "--out", str(tmp_path / "r.json")]) == 0
    assert (tmp_path / "r.json").is_file()
    capfd.readouterr()


def test_onnx_of_trained_weights(plan_file: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    trained = plain(seed=7)
    torch.save(trained.state_dict(), tmp_path / "net.pt")
    out = tmp_path / "net.onnx"
    ask = ["export", plan_file, "--to", "onnx", *MODEL, "--weights", str(tmp_path / "net.pt"), "--out", str(out)]
    assert run([*ask, "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["notes"] == []
    assert document["params"] == sum(p.numel() for p in trained.parameters())
    held = {item.name: onnx.numpy_helper.to_array(item) for item in onnx.load(out).graph.initializer}
    wanted = trained.head.weight.detach() * load_plan(plan_file).masks()["head"]
    torch.testing.assert_close(torch.from_numpy(held["head.weight"].copy()), wanted)


def test_schedules(plan_file: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ask = ["export", plan_file, "--to", "schedule", "--json", "--every", "10"]
    assert run([*ask, "--method", "incremental", "--start", "0.001"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["steps"] == 11
    held = json.loads((tmp_path / "my.schedule.json").read_text())
    assert held["steps"][-1] == [100, 1.0]  # dense at 10 T
    assert len(load_file(tmp_path / "my.births.safetensors")) == 5
    assert run([*ask, "--method", "rigl", "--end", "75", "--drop", "0.2"]) == 0
    assert json.loads((tmp_path / "my.schedule.json").read_text())["steps"][0][1] < 0.2


def test_the_schema(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["export", "--schema"]) == 0
    text = capfd.readouterr().out
    assert run(["export", "--schema", "--json"]) == 0
    assert json.loads(text) == json.loads(capfd.readouterr().out)
    jsonschema.Draft202012Validator(json.loads(text)).validate(masked().to_json())


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ([], "no --to; expected advisor export PLAN --to masks|"),
        (["--to", "mask"], "unknown format 'mask'; did you mean 'masks'"),
        (["--to", "onnx"], "--to onnx needs the network itself; name it (--model)"),
        (["--to", "torch-pruning"], "plan with --patterns width"),
        (["--to", "masks", "--weights", "w.pt"], "of which network? name it (--model)"),
        (["--to", "masks", "--every", "10"], "--every belongs to --to schedule"),
        (["--to", "schedule"], "--to schedule needs --method"),
        (["--to", "schedule", "--method", "set"], "--to schedule needs --every STEPS"),
        (["--to", "schedule", "--method", "sets", "--every", "3"], "unknown schedule 'sets'"),
        (["--to", "schedule", "--method", "set", "--every", "3"], "it needs the step from which masks stay (--end)"),
        (
            ["--to", "schedule", "--method", "set", "--every", "3", "--start", "0.1"],
            "--start has no say in --method set",
        ),
        (["--to", "masks", "--out", "no/such/folder/x"], "there is no folder no/such/folder"),
    ],
)
def test_mistakes(told: list[str], reason: str, plan_file: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["export", plan_file, *told]) == 2
    out, error = capfd.readouterr()
    assert out == ""
    assert reason in error
    assert error.startswith("advisor: error: ")
    assert error.count("\n") == 1
    assert [path.name for path in Path(plan_file).parent.iterdir()] == ["my.json"]


def test_a_broken_plan_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "my.json").write_text('{"schema": "sparsity-advisor/plan-1"}')
    assert run(["export", str(tmp_path / "my.json"), "--to", "masks"]) == 2
    assert run(["export", "--to", "masks"]) == 2
    error = capfd.readouterr().err
    assert "no PLAN; expected advisor export PLAN" in error
    assert error.count("\n") == 2


def test_the_factory_is_the_plans_network() -> None:
    assert advisor.analyze(plain(), torch.zeros(SHAPE)).params == masked().costs["params"].dense
