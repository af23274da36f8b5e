"""Recipes, read and run by LLM Compressor where it is installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from advisor.errors import PlanError
from advisor.patterns.option import Option
from advisor.plans.export import export_plan
from advisor.plans.export.masks import mask_weights
from advisor.plans.plan import Plan
from tests.plans.export.samples import OPTIONS, inputs, masked, plain
from tests.plans.samples import small_plan

ONE_OF_FOUR = Option(pattern="n:m", density=0.25, parameters={"n": 1, "m": 4})


def exported(plan: Plan, path: Path) -> list[str]:
    export_plan(plan, "llm-compressor", path)
    return path.read_text().splitlines()


def test_the_recipe_to_the_letter(tmp_path: Path) -> None:
    plan = masked({"point": ONE_OF_FOUR, "hidden": ONE_OF_FOUR, "head": OPTIONS["head"], "first": OPTIONS["first"]})
    head, masks, *lines = exported(plan, tmp_path / "r.yaml")
    assert head.startswith("# sparsity-advisor: {")
    assert masks == "# masks: r.masks.safetensors"
    sparsity = 1 - 39 / 128  # ceil(0.3 * 128) weights stay
    assert lines == [
        "keep_stage:",
        "  pruning_modifiers:",
        "    ConstantPruningModifier:",
        '      targets: ["re:^first$", "re:^point$", "re:^hidden$", "re:^head$"]',
        "      start: 0",
        "choose_stage:",
        "  pruning0_modifiers:",
        "    SparseGPTModifier:",
        "      sparsity: 0.75",
        '      mask_structure: "3:4"',
        '      targets: ["re:^point$", "re:^hidden$"]',
        "  pruning1_modifiers:",
        "    SparseGPTModifier:",
        f"      sparsity: {json.dumps(sparsity)}",
        '      mask_structure: "0:0"',
        '      targets: ["re:^head$"]',
    ]


def test_layers_that_the_library_does_not_take_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="layer up is a conv_transpose2d"):
        exported(small_plan(), tmp_path / "r.yaml")
    with pytest.raises(PlanError, match="every layer is dense"):
        exported(masked({}), tmp_path / "r.yaml")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("selection", ["random", "magnitude"])
def test_the_library_keeps_the_plans_masks_through_training(selection: str, tmp_path: Path) -> None:
    pytest.importorskip("llmcompressor")
    from llmcompressor.core import Event, EventType, State
    from llmcompressor.recipe import Recipe

    plan, model = masked(selection=selection), plain()
    exported(plan, tmp_path / "r.yaml")
    mask_weights(tmp_path / "r.masks.safetensors", model)
    (modifier,) = Recipe.create_instance(str(tmp_path / "r.yaml"), target_stage="keep").modifiers
    state = State(model=model)
    modifier.initialize(state)
    for layer in plan.layers:
        assert torch.equal(model.get_submodule(layer.name).get_buffer("mask"), plan.masks()[layer.name])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for step in range(3):
        modifier.update_event(state, Event(type_=EventType.BATCH_START, global_step=step))
        optimizer.zero_grad()
        model(inputs(step)).square().sum().backward()
        modifier.update_event(state, Event(type_=EventType.OPTIM_PRE_STEP, global_step=step))
        optimizer.step()
        modifier.update_event(state, Event(type_=EventType.OPTIM_POST_STEP, global_step=step))
    modifier.finalize(state)
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in plain().parameters())
    for layer in plan.layers:
        assert torch.equal(model.get_parameter(layer.weight) != 0, plan.masks()[layer.name])


def test_the_library_reads_both_stages(tmp_path: Path) -> None:
    pytest.importorskip("llmcompressor")
    from llmcompressor.recipe import Recipe

    plan = masked({"point": ONE_OF_FOUR, "head": OPTIONS["head"]})
    exported(plan, tmp_path / "r.yaml")
    both = Recipe.create_instance(str(tmp_path / "r.yaml"), target_stage="choose").modifiers
    assert [type(modifier).__name__ for modifier in both] == ["SparseGPTModifier"] * 2
    assert [(m.sparsity, m.mask_structure) for m in both] == [(0.75, "3:4"), (1 - 39 / 128, "0:0")]
