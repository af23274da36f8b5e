"""The documented way from a plan file to masks, which needs nothing of this package."""

from __future__ import annotations

import copy
import json
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from torch import nn

import advisor
from advisor.cli import run
from advisor.patterns.base import DENSITIES, combined_names, pattern_names
from advisor.patterns.option import Option
from advisor.plans import schema
from advisor.plans.plan import Plan, load_plan
from tests.coupling.networks import build as built
from tests.plans.samples import MASKED, OPTIONS, SHAPE, plan_of, rewired, small, small_plan
from tests.plans.test_combined import INNER, options_at_half
from tests.plans.test_combined import planned as combined_plan
from tests.plans.test_width import X, joined, planned

DOCS = Path(__file__).parent.parent.parent / "docs"
REFERENCE: dict[str, Any] = runpy.run_path(str(DOCS / "plan_masks.py"))
TRAINER: dict[str, Any] = runpy.run_path(str(DOCS / "trainer.py"))


def compared(plan: Plan, folder: Path) -> set[str]:
    """Both ways to the masks are equal bit for bit; returns the patterns that were compared."""
    plan.save(folder / "plan.json")
    found, wanted = REFERENCE["masks"](folder / "plan.json"), load_plan(folder / "plan.json").masks()
    for layer in plan.layers:
        mask = found[layer.weight]
        assert mask.dtype == bool
        assert np.array_equal(mask, wanted[layer.name].numpy()), layer
    return {layer.pattern for layer in plan.layers}


@pytest.mark.parametrize("selection", ["random", "magnitude"])
def test_masks_from_the_file_alone(selection: str, tmp_path: Path) -> None:
    plan = small_plan(selection=selection)  # plain, grouped, transposed, one tap, linear
    assert compared(plan, tmp_path) == {"group", "channel", "n:m", "unstructured"}


@pytest.mark.parametrize("name", sorted(MASKED))
@pytest.mark.parametrize("seed", [0, 1])
def test_every_pattern_on_every_kind_of_layer(name: str, seed: int, tmp_path: Path) -> None:
    network = advisor.analyze(small(), torch.zeros(SHAPE, dtype=torch.float64))
    options = {layer.name: MASKED[name] for layer in network.sparsifiable}
    assert compared(plan_of(network, options, seed=seed), tmp_path) == {name}


@pytest.mark.parametrize("density", DENSITIES)
def test_every_density_rounds_as_the_plan_does(density: float, tmp_path: Path) -> None:
    network = advisor.analyze(small(), torch.zeros(SHAPE, dtype=torch.float64))
    options = {name: Option(pattern="unstructured", density=density) for name in OPTIONS}
    options |= {name: Option(pattern="channel", density=density) for name in ("up", "stem.0")}
    compared(plan_of(network, options), tmp_path)


def test_repaired_connections(tmp_path: Path) -> None:
    compared(rewired(small_plan(), "up"), tmp_path)
    plan = advisor.plan(built("residual"), budgets={"params": "20%"}, patterns=["channel"])
    assert any(layer.rewired or layer.dropped for layer in plan.layers)
    compared(plan, tmp_path)


@pytest.mark.parametrize("selection", ["random", "magnitude"])
def test_width(selection: str, tmp_path: Path) -> None:
    """Also through concatenation, depthwise and grouped layers."""
    assert "width" in compared(planned(joined(), selection=selection), tmp_path)


@pytest.mark.parametrize("selection", ["random", "magnitude"])
@pytest.mark.parametrize("name", INNER)
@pytest.mark.parametrize("build", [small, joined])
def test_width_with_a_pattern_in_it(build: Callable[[], nn.Module], name: str, selection: str, tmp_path: Path) -> None:
    network = advisor.analyze(build(), X)
    plan = combined_plan(network, options_at_half(network, name), selection)
    assert f"width+{name}" in compared(plan, tmp_path)


def test_nothing_is_left_out() -> None:
    """What the reference covers is all that a plan can hold."""
    assert set(pattern_names()) == {"dense", "width", *MASKED}
    assert set(combined_names()) == {f"width+{name}" for name in MASKED}


def test_what_the_reference_cannot_know_it_refuses(tmp_path: Path) -> None:
    plan = small_plan(selection="magnitude")
    item = next(layer for layer in plan.to_json()["layers"] if layer["name"] == "point")
    with pytest.raises(ValueError, match="point has chosen connections, and they are missing"):
        REFERENCE["mask_of"](item)
    narrow = next(layer for layer in planned(joined()).to_json()["layers"] if layer["pattern"] == "width")
    del narrow["kept_inputs"]
    with pytest.raises(ValueError, match="does not say which channels width keeps"):
        REFERENCE["mask_of"](narrow)
    (tmp_path / "plan.json").write_text(json.dumps({"of_table": True}))
    with pytest.raises(ValueError, match="made from a table of costs"):
        REFERENCE["masks"](tmp_path / "plan.json")


@pytest.mark.parametrize("name", ["dense", *sorted(MASKED)])
def test_the_trainers_masks_in_plain_and_grouped_layers(name: str) -> None:
    network = advisor.analyze(small(), torch.zeros(SHAPE, dtype=torch.float64))
    options = {} if name == "dense" else {layer.name: MASKED[name] for layer in network.sparsifiable}
    plan = plan_of(network, options)
    plan = rewired(plan, "stem.0") if name in ("channel", "group") else plan
    documents = {item["name"]: item for item in plan.to_json()["layers"]}
    for layer in plan.layers:
        if "transpose" not in layer.kind:
            assert torch.equal(TRAINER["mask"](documents[layer.name]), plan.masks()[layer.name]), layer


def test_the_trainer_trains_under_a_plan_that_advisor_makes_for_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "plan.json"
    model = f"{DOCS / 'trainer.py'}:build"
    ask = ["plan", model, "--budget", "params=30%", "--patterns", "channel,unstructured,n:m", "--include-ends"]
    assert run([*ask, "--out", str(out)]) == 0
    capfd.readouterr()
    plan = load_plan(out)
    torch.manual_seed(0)
    trained, loss = TRAINER["train"](json.loads(out.read_text()), steps=80)
    assert loss < 0.5  # four classes at random: 1.39
    for layer in plan.layers:
        assert torch.equal(trained.get_parameter(layer.weight) != 0, plan.masks()[layer.name])
    assert sum(int((p != 0).sum()) for p in trained.parameters()) == plan.costs["params"].plan
    done = subprocess.run(
        [sys.executable, str(DOCS / "trainer.py"), str(out)], capture_output=True, text=True, check=True, timeout=120
    )
    assert re.fullmatch(r"loss \d\.\d+\n", done.stdout)


def test_neither_file_imports_more_than_it_says() -> None:
    for name, allowed in (("trainer.py", {"torch", "numpy"}), ("plan_masks.py", {"numpy", "__future__", "typing"})):
        text = (DOCS / name).read_text()
        found = set(re.findall(r"^(?:import|from) (\w+)", text, flags=re.MULTILINE))
        assert found - {"json", "math", "sys", "pathlib"} <= allowed, name


def test_the_schema_is_public_and_a_copy() -> None:
    found = schema()
    assert found == json.loads(files("advisor.plans").joinpath("plan.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(found)
    found["properties"].clear()
    assert schema()["properties"]


def test_every_kind_of_plan_is_valid_under_it(tmp_path: Path) -> None:
    validator = jsonschema.Draft202012Validator(schema())
    for plan in (small_plan(), small_plan(selection="magnitude"), planned(joined())):
        plan.save(tmp_path / "plan.json")
        validator.validate(json.loads((tmp_path / "plan.json").read_text()))
    broken = copy.deepcopy(small_plan().to_json())
    broken["layers"][0]["density"] = 0
    assert not validator.is_valid(broken)


def test_every_field_of_the_schema_is_documented() -> None:
    text = (DOCS / "plan-format.md").read_text()
    held = schema()
    names = set(held["properties"]) | set(held["$defs"]["layer"]["properties"])
    missing = {name for name in names if f"`{name}`" not in text}
    assert not missing


def test_documented_files_are_the_ones_in_the_repository() -> None:
    text = (DOCS / "plan-format.md").read_text()
    for name in re.findall(r"\(([\w.]+\.(?:py|md))\)", text):
        assert (DOCS / name).is_file(), name
