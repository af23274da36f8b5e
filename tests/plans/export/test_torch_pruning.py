"""Ratios, given to Torch-Pruning itself: the same channels, the same number of parameters."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import advisor
from advisor.errors import PlanError
from advisor.plans.export import export_plan
from advisor.plans.export.torch_pruning import check_pruned, pruner_arguments
from advisor.plans.plan import Plan
from tests.plans.export.samples import inputs, masked, narrowed, plain


def exported(plan: Plan, path: Path) -> Path:
    export_plan(plan, "torch-pruning", path)
    return path


def pruned(plan: Plan, model: nn.Module, x: torch.Tensor, path: Path) -> nn.Module:
    tp = pytest.importorskip("torch_pruning")
    tp.pruner.BasePruner(model, x, **pruner_arguments(exported(plan, path), model)).step()
    check_pruned(path, model)
    return model


def test_the_library_cuts_out_the_plans_own_channels(tmp_path: Path) -> None:
    plan = narrowed()
    found = pruned(plan, plain(), inputs(), tmp_path / "p.json")
    wanted = plan.apply(plain()).eval()
    assert sum(p.numel() for p in found.parameters()) == plan.costs["params"].plan
    assert {name: value.shape for name, value in found.state_dict().items()} == {
        name: value.shape for name, value in wanted.state_dict().items()
    }
    torch.testing.assert_close(found(inputs()), wanted(inputs()), rtol=1e-5, atol=1e-6)


class Branches(nn.Module):
    """A concatenation, a grouped and a depthwise layer, a flattened end. 2 8 8 8 → 2 8."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(8, 16, 3, padding=1)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.left = nn.Conv2d(16, 12, 1)
        self.right = nn.Conv2d(16, 8, 1)
        self.mixed = nn.Conv2d(20, 16, 3, stride=2, padding=1)
        self.grouped = nn.Conv2d(16, 24, 1, groups=2)
        self.head = nn.Linear(24 * 16, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.depthwise(self.stem(x).relu()).relu()
        x = self.mixed(torch.cat([self.left(x), self.right(x)], 1)).relu()
        x = self.grouped(x).relu()
        out: torch.Tensor = self.head(x.flatten(1))
        return out


def test_through_concatenation_groups_and_flattening(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = Branches().eval(), torch.randn(2, 8, 8, 8)
    plan = advisor.plan(advisor.analyze(model, x), budgets={"params": "40%"}, patterns=["width"])
    wanted = plan.apply(model).eval()
    found = pruned(plan, model, x, tmp_path / "p.json")
    assert sum(p.numel() for p in found.parameters()) == plan.costs["params"].plan
    torch.testing.assert_close(found(x), wanted(x), rtol=1e-5, atol=1e-6)


def test_the_ratios_alone_give_the_same_sizes(tmp_path: Path) -> None:
    """With the library's own choice of channels."""
    tp = pytest.importorskip("torch_pruning")
    plan, model = narrowed(), plain()
    document = json.loads(exported(plan, tmp_path / "p.json").read_text())
    ratios = {model.get_submodule(name): ratio for name, ratio in document["pruning_ratio_dict"].items()}
    importance = tp.importance.GroupMagnitudeImportance()
    tp.pruner.BasePruner(model, inputs(), importance, pruning_ratio=0.0, pruning_ratio_dict=ratios).step()
    check_pruned(tmp_path / "p.json", model)
    assert sum(p.numel() for p in model.parameters()) == plan.costs["params"].plan


def test_masked_patterns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="knows no masks, and layer first has pattern 'channel'"):
        exported(masked(), tmp_path / "p.json")
    assert not list(tmp_path.iterdir())


def test_a_ratio_keeps_exactly_the_channels_that_are_meant(tmp_path: Path) -> None:
    plan = narrowed()
    document = json.loads(exported(plan, tmp_path / "p.json").read_text())
    for layer in plan.layers:
        outputs = layer.layer.out_channels
        kept = layer.parameters.get("out_channels", outputs)
        assert int(outputs * (1 - document["pruning_ratio_dict"].get(layer.name, 0))) == kept


def test_what_was_not_pruned_is_said(tmp_path: Path) -> None:
    path = exported(narrowed(), tmp_path / "p.json")
    with pytest.raises(PlanError, match=r"Torch-Pruning left .* with shape"):
        check_pruned(path, plain())
    with pytest.raises(PlanError, match="the plan belongs to another network"):
        pruner_arguments(path, nn.Linear(3, 3))
    path.write_text("{}")
    with pytest.raises(PlanError, match="its format is"):
        pruner_arguments(path, plain())
