"""What every exporter must do, whatever its format."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from torch import nn

import advisor
from advisor.errors import AdvisorError, PlanError
from advisor.plans.export import export_plan, plan_digest, read_provenance, write
from advisor.plans.export.exporter import Exporter, exporters, register
from advisor.plans.plan import CostLine, Plan, PlanLayer, load_plan
from tests.plans.export.samples import narrowed, plain, plan_for, schedule_for
from tests.runtime.attention.networks import patches

FORMATS = sorted(exporters())


@pytest.fixture(autouse=True)
def _installed(request: pytest.FixtureRequest) -> None:
    if "onnx" in getattr(request.node, "callspec", request).__dict__.get("params", {}).values():
        pytest.importorskip("onnxscript")


def written(plan: Plan, to: str, path: Path, module: nn.Module | None = None) -> tuple[Path, ...]:
    return export_plan(plan, to, path, module=module or plain(), schedule=schedule_for(to)).files


def test_all_formats_are_here() -> None:
    assert FORMATS == ["llm-compressor", "masks", "modelopt", "onnx", "schedule", "torch-prune", "torch-pruning"]


@pytest.mark.parametrize("to", FORMATS)
def test_a_file_says_where_it_comes_from(to: str, tmp_path: Path) -> None:
    plan = plan_for(to)
    receipt = export_plan(plan, to, tmp_path / "out.file", module=plain(), schedule=schedule_for(to))
    assert receipt.files[0] == tmp_path / "out.file"
    assert all(path.is_file() for path in receipt.files)
    assert sorted(receipt.files) == sorted(tmp_path.iterdir())
    found = read_provenance(receipt.files[0], to)
    assert found["plan_sha256"] == receipt.plan_sha256 == plan_digest(plan)
    assert found["model"] == plan.model
    assert found["input"] == [[2, 16, 8, 8]]
    masks = plan.masks(plain())
    assert [(i["name"], i["weight"], tuple(i["weight_shape"]), i["pattern"]) for i in found["layers"]] == [
        (layer.name, layer.weight, layer.weight_shape, layer.pattern) for layer in plan.layers
    ]
    assert [item["kept_weights"] for item in found["layers"]] == [int(mask.sum()) for mask in masks.values()]
    document = receipt.to_json()
    assert document["format"] == to
    assert document["files"] == [str(path) for path in receipt.files]


@pytest.mark.parametrize("to", [name for name in FORMATS if name != "onnx"])  # its exporter writes traces of its own
def test_the_same_plan_gives_the_same_bytes_before_and_after_saving(to: str, tmp_path: Path) -> None:
    plan = plan_for(to)
    plan.save(tmp_path / "plan.json")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = written(plan, to, tmp_path / "a" / "x.y")
    second = written(load_plan(tmp_path / "plan.json"), to, tmp_path / "b" / "x.y")
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one


def nothing_written(folder: Path) -> bool:
    return not [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("to", FORMATS)
def test_a_plan_of_a_table_is_refused(to: str, tmp_path: Path) -> None:
    layer = PlanLayer(name="a", kind="table", pattern="x", density=0.5, seed=0, weight="", weight_shape=())
    costs = {"macs": CostLine(dense=2.0, plan=1.0)}
    plan = dataclasses.replace(plan_for("masks"), layers=(layer,), costs=costs, of_table=True, network=None)
    with pytest.raises(PlanError, match="made from a cost table") as caught:
        written(plan, to, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert nothing_written(tmp_path)


@pytest.mark.parametrize("to", FORMATS)
def test_another_networks_plan_is_refused(to: str, tmp_path: Path) -> None:
    other = nn.Sequential(nn.Conv2d(16, 16, 3), nn.Flatten(), nn.Linear(16 * 36, 8))
    with pytest.raises(PlanError, match="the plan belongs to another network"):
        written(plan_for(to), to, tmp_path / "out", module=other)
    assert nothing_written(tmp_path)


@pytest.mark.parametrize("to", FORMATS)
def test_a_plan_at_odds_with_itself_is_refused(to: str, tmp_path: Path) -> None:
    plan = plan_for(to)
    broken = dataclasses.replace(plan.layers[0], pattern="spiral")
    plan = dataclasses.replace(plan, layers=(broken, *plan.layers[1:]), network=None)
    with pytest.raises(PlanError, match="unknown pattern 'spiral'"):
        written(plan, to, tmp_path / "out")
    assert nothing_written(tmp_path)


@pytest.mark.parametrize("to", FORMATS)
def test_what_cannot_be_written_leaves_nothing_behind(to: str, tmp_path: Path) -> None:
    with pytest.raises(AdvisorError, match="cannot write"):
        written(plan_for(to), to, tmp_path / "no such folder" / "out")
    (tmp_path / "taken.x").mkdir()  # files beside it can be written, the file itself cannot
    with pytest.raises(AdvisorError, match="cannot write"):
        written(plan_for(to), to, tmp_path / "taken.x")
    assert nothing_written(tmp_path)


@pytest.mark.parametrize("to", FORMATS)
def test_a_file_of_something_else_is_refused(to: str, tmp_path: Path) -> None:
    for content in (b"", b"{}", b"\0" * 64, b'{"provenance": {"format": "other"}}', b"# sparsity-advisor: 3\n"):
        (tmp_path / "odd").write_bytes(content)
        with pytest.raises(PlanError) as caught:
            read_provenance(tmp_path / "odd", to)
        assert "\n" not in str(caught.value)
    with pytest.raises(PlanError, match="cannot read"):
        read_provenance(tmp_path / "gone", to)


@pytest.mark.parametrize("to", FORMATS)
def test_a_schedule_goes_with_its_own_format_alone(to: str, tmp_path: Path) -> None:
    wrong = None if to == "schedule" else schedule_for("schedule")
    with pytest.raises(PlanError, match="--to schedule"):
        export_plan(plan_for(to), to, tmp_path / "out", module=plain(), schedule=wrong)
    assert nothing_written(tmp_path)


def test_width_that_does_not_say_its_channels_asks_for_the_network(tmp_path: Path) -> None:
    plan = narrowed()
    opened = dataclasses.replace(
        plan,
        network=None,
        layers=tuple(dataclasses.replace(layer, kept_inputs=(), kept_outputs=()) for layer in plan.layers),
    )
    with pytest.raises(PlanError, match="which channels width keeps; name the network"):
        export_plan(opened, "masks", tmp_path / "out")
    files = written(opened, "masks", tmp_path / "out")
    assert read_provenance(files[0], "masks")["plan_sha256"] == plan_digest(plan)


def test_the_digest_is_of_what_a_plan_decides() -> None:
    plan = plan_for("masks")
    assert plan_digest(dataclasses.replace(plan, solve_seconds=9.0, notes=())) == plan_digest(plan)
    other = dataclasses.replace(plan.layers[0], seed=plan.layers[0].seed ^ 1)
    assert plan_digest(dataclasses.replace(plan, layers=(other, *plan.layers[1:]))) != plan_digest(plan)
    chosen = dataclasses.replace(plan_for("masks"))
    assert plan_digest(chosen) == plan_digest(plan)


def test_an_unknown_format_names_the_closest(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="unknown format 'mask'; did you mean 'masks'"):
        export_plan(plan_for("masks"), "mask", tmp_path / "out")


def test_two_exporters_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two exporters for masks"):
        register(type("Again", (Exporter,), {"name": "masks", "suffix": "", "line": ""}))


def test_every_exporter_says_what_it_is_for() -> None:
    for name, made in exporters().items():
        assert made.name == name
        assert made.suffix.startswith(".")
        assert made.line


def test_where_one_file_fails_the_others_are_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = write.write_bytes

    def full(path: Path, data: bytes) -> None:
        if path.suffix == ".json":
            raise AdvisorError(f"cannot write {path}: No space left on device")
        real(path, data)

    monkeypatch.setattr(write, "write_bytes", full)
    with pytest.raises(AdvisorError, match="No space left"):
        written(plan_for("modelopt"), "modelopt", tmp_path / "out.json")
    assert nothing_written(tmp_path)
    (tmp_path / "out.masks.safetensors").write_bytes(b"there before")
    with pytest.raises(AdvisorError, match="No space left"):
        written(plan_for("modelopt"), "modelopt", tmp_path / "out.json")
    assert (tmp_path / "out.masks.safetensors").exists()


@pytest.mark.parametrize("to", ["masks", "schedule"])
def test_what_a_plan_decides_beside_weights_is_said(to: str, tmp_path: Path) -> None:
    pins = {"attention:attention": "hierarchical@window=4,pool=4", "mlp.0": "channel@0.5"}
    plan = advisor.plan(patches()[1], budgets={"macs": "90%"}, patterns=["hierarchical", "channel"], pins=pins)
    receipt = export_plan(plan, to, tmp_path / "out", schedule=schedule_for(to))
    assert f"attention become hierarchical in this plan, which {to} cannot say" in " ".join(receipt.notes)
    assert [item["name"] for item in read_provenance(receipt.files[0], to)["layers"]] == [
        layer.name for layer in plan.layers
    ]
