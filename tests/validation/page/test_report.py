"""Watching a validation through its files, and what the page hands out."""

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.figures import samples
from validation.page.report import report_html, watch
from validation.page.tables import layer_rows, plan_file


def test_a_validation_that_has_not_begun(tmp_path: Path) -> None:
    seen = watch(tmp_path)
    assert (seen.share, seen.text, seen.finished, seen.report, seen.rows) == (0.0, "", (), None, ())
    assert report_html(tmp_path) is None


def test_a_running_validation(tmp_path: Path) -> None:
    progress = {"state": "running", "done": 30, "total": 120, "run": "erk-1", "epoch": 2, "epochs": 4}
    progress |= {"seconds_left": 9.4, "finished": [{"plan": "dense", "seed": 0, "accuracy": 0.9}]}
    (tmp_path / "progress.json").write_text(json.dumps(progress))
    seen = watch(tmp_path)
    assert seen.share == 0.25
    assert seen.text == "erk-1 epoch 2 of 4, 9 s left"
    assert seen.finished == ({"plan": "dense", "seed": 0, "accuracy": 0.9},)


def test_several_runs_at_once(tmp_path: Path) -> None:
    running = [{"run": "erk-1", "epoch": 2, "epochs": 4}, {"run": "dense-0", "epoch": 1, "epochs": 4}]
    progress = {"state": "running", "done": 30, "total": 120, "run": "erk-1", "epoch": 2, "epochs": 4}
    (tmp_path / "progress.json").write_text(json.dumps(progress | {"running": running, "seconds_left": None}))
    assert watch(tmp_path).text == "erk-1 2/4, dense-0 1/4"


def test_files_that_are_being_written_or_hostile_are_not_there_yet(tmp_path: Path) -> None:
    (tmp_path / "progress.json").write_text('{"done": 3')
    (tmp_path / "report.json").write_text('["no", "report"]')
    assert watch(tmp_path).report is None


def test_a_finished_validation(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(json.dumps(samples.report()))
    (tmp_path / "report.html").write_text("<html>")
    seen = watch(tmp_path)
    assert seen.costs == ("macs",)  # latency is not known of every plan
    assert [row["plan"] for row in seen.rows] == ["dense", "plan", "diverged"]
    assert seen.rows[1]["accuracy"] == "88.0 %"
    assert seen.rows[1]["interval"] == "85.0 % to 91.0 %"
    assert seen.rows[1]["Latency, measured"] == "12.5 ms"
    assert seen.rows[2]["accuracy"] == "–"
    assert report_html(tmp_path) == b"<html>"


def test_layers_with_and_without_a_plan() -> None:
    bare = layer_rows(samples.network())
    assert [row["layer"] for row in bare] == ["stem", "norm", "left", "right", "head"]
    assert "pattern" not in bare[0]
    row = next(row for row in layer_rows(samples.network(), samples.plan()) if row["layer"] == "left")
    assert (row["pattern"], row["density"], row["options"]) == ("group", 0.25, "block=4")


def test_a_plan_is_one_file_of_json() -> None:
    name, content, kind = plan_file(samples.plan())
    assert (name, kind) == ("block-plan.json", "application/json")
    assert json.loads(content)["schema"] == "sparsity-advisor/plan-1"


def test_chosen_connections_travel_with_the_plan() -> None:
    plan = samples.plan()
    layers = tuple(replace(layer, selection="magnitude") if layer.name == "left" else layer for layer in plan.layers)
    units = np.zeros((2, 8), dtype=bool)
    units[:, :2] = True
    name, content, kind = plan_file(replace(plan, layers=layers, chosen={"left": units}))
    assert (name, kind) == ("block-plan.zip", "application/zip")
    held = zipfile.ZipFile(io.BytesIO(content)).namelist()
    assert len(held) == 2
    assert "plan.json" in held
