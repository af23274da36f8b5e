"""Rules and masks, loaded by ModelOpt where it is installed: the same masks, the same number of parameters."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from advisor.errors import PlanError
from advisor.plans.export import export_plan
from advisor.plans.export.masks import mask_weights
from advisor.plans.export.modelopt import load_modelopt
from advisor.plans.plan import Plan
from tests.plans.export.samples import TWO_OF_FOUR, inputs, masked, narrowed, plain
from tests.plans.samples import masked_copy, small_plan


def exported(plan: Plan, path: Path) -> dict[str, object]:
    export_plan(plan, "modelopt", path)
    document: dict[str, object] = json.loads(path.read_text())
    return document


def test_rules_name_exactly_the_sparse_layers(tmp_path: Path) -> None:
    options = {layer.name: layer.option for layer in masked().layers if layer.name in ("first", "head")}
    document = exported(masked(options), tmp_path / "m.json")
    assert document["mode"] == [
        "sparse_magnitude",
        {"nn.Linear": {"*": None, "head": {}}, "nn.Conv2d": {"*": None, "first": {}}},
    ]
    assert "search" not in document
    assert document["masks"] == "m.masks.safetensors"


def test_two_of_four_alone_can_be_searched_for(tmp_path: Path) -> None:
    document = exported(masked({"second": TWO_OF_FOUR, "hidden": TWO_OF_FOUR}), tmp_path / "m.json")
    assert document["search"] == {"pattern": "2:4 sparsity"}


def test_layers_that_the_library_has_no_class_for_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="layer up is a conv_transpose2d; plan it dense"):
        export_plan(small_plan(), "modelopt", tmp_path / "m.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("selection", ["random", "magnitude"])
@pytest.mark.parametrize("make", [masked, narrowed])
def test_the_library_holds_the_plans_masks(make: object, selection: str, tmp_path: Path) -> None:
    sparsity = pytest.importorskip("modelopt.torch.sparsity")
    plan: Plan = make(selection=selection) if make is masked else narrowed()  # type: ignore[operator]
    exported(plan, tmp_path / "m.json")
    model = load_modelopt(tmp_path / "m.json", plain())
    for layer in plan.layers:
        held = model.get_submodule(layer.name)._weight_mask
        mask = plan.masks()[layer.name]
        assert bool(mask.all()) if held is None else torch.equal(held, mask)
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in plain().parameters())
    wanted = masked_copy(plan, plain())
    torch.testing.assert_close(model(inputs()), wanted(inputs()), rtol=1e-5, atol=1e-6)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    model(inputs()).square().sum().backward()
    optimizer.step()
    done = sparsity.export(model)
    for layer in plan.layers:
        kept = plan.masks()[layer.name]
        assert not done.get_parameter(layer.weight)[~kept].any()
        assert done.get_parameter(layer.weight)[kept].all()


def test_its_own_search_finds_the_plans_masks_in_masked_weights(tmp_path: Path) -> None:
    sparsity = pytest.importorskip("modelopt.torch.sparsity")
    plan, model = masked({"second": TWO_OF_FOUR, "hidden": TWO_OF_FOUR}), plain()
    document = exported(plan, tmp_path / "m.json")
    mask_weights(tmp_path / "m.masks.safetensors", model)
    found = sparsity.sparsify(model, [tuple(document["mode"])], document["search"])  # type: ignore[arg-type]
    for name in ("second", "hidden"):
        assert torch.equal(found.get_submodule(name)._weight_mask, plan.masks()[name])


def test_files_that_do_not_belong_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.json"
    document = exported(masked(), path)
    with pytest.raises(PlanError, match=r"no parameter 'first.weight'"):
        load_modelopt(path, nn.Linear(3, 3))
    for name in ("modelopt", "modelopt.torch.opt.conversion"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(PlanError, match="pip install nvidia-modelopt"):
        load_modelopt(path, plain())
    path.write_text(json.dumps(document | {"masks": "../m.masks.safetensors"}))
    with pytest.raises(PlanError, match="no bare file name"):
        load_modelopt(path, plain())


def test_names_are_literal_in_rules(tmp_path: Path) -> None:
    plan = masked({"first": TWO_OF_FOUR})
    odd = dataclasses.replace(plan.layer("first"), weight="a[0]*.weight")
    plan = dataclasses.replace(plan, layers=(odd, *plan.layers[1:]), network=None)
    mode = exported(plan, tmp_path / "m.json")["mode"]
    assert mode[1]["nn.Conv2d"] == {"*": None, "a[[]0][*]": {}}  # type: ignore[index]
