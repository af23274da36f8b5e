"""Masks as files: read back by the library itself, and by torch."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils import prune

import advisor
from advisor.errors import PlanError
from advisor.plans.export import export_plan
from advisor.plans.export.masks import mask_weights
from advisor.plans.export.torch_prune import load_torch_prune
from tests.plans.export.samples import inputs, masked, narrowed, plain
from tests.plans.samples import SHAPE, masked_copy, small, small_plan


@pytest.mark.parametrize("selection", ["random", "magnitude"])
def test_masks_are_the_plans_bit_for_bit(selection: str, tmp_path: Path) -> None:
    plan = small_plan(selection=selection)  # grouped, transposed and plain layers
    export_plan(plan, "masks", tmp_path / "m.safetensors")
    held = load_file(tmp_path / "m.safetensors")
    wanted = {layer.weight: plan.masks()[layer.name] for layer in plan.layers}
    assert held.keys() == wanted.keys()
    assert all(mask.dtype == torch.bool and torch.equal(mask, wanted[name]) for name, mask in held.items())


def test_dense_layers_have_no_mask(tmp_path: Path) -> None:
    plan = masked({"point": masked().layer("point").option})
    export_plan(plan, "masks", tmp_path / "m.safetensors")
    assert list(load_file(tmp_path / "m.safetensors")) == ["point.weight"]


@pytest.mark.parametrize("make", [masked, narrowed])
def test_a_masked_module_computes_what_the_applied_plan_computes(make: object, tmp_path: Path) -> None:
    plan, model = make(), plain()  # type: ignore[operator]
    export_plan(plan, "masks", tmp_path / "m.safetensors")
    wanted = plan.apply(model).eval()(inputs())
    masks = mask_weights(tmp_path / "m.safetensors", model)
    torch.testing.assert_close(model(inputs()), wanted, rtol=1e-5, atol=1e-5)
    assert all(bool((model.get_parameter(name)[~mask] == 0).all()) for name, mask in masks.items())


def test_torch_prune_masks_as_the_plan_does_through_training(tmp_path: Path) -> None:
    model, plan = small(), small_plan()
    export_plan(plan, "torch-prune", tmp_path / "p.safetensors", module=model)
    pruned = load_torch_prune(tmp_path / "p.safetensors", small())
    masks = plan.masks()
    for layer in plan.layers:
        held = pruned.get_submodule(layer.weight.rpartition(".")[0])
        assert prune.is_pruned(held)
        assert torch.equal(held.get_buffer("weight_mask").bool(), masks[layer.name])
    x = torch.randn(SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(pruned.eval()(x), masked_copy(plan, model).eval()(x), rtol=0, atol=1e-12)
    optimizer = torch.optim.SGD(pruned.train().parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        pruned(x).square().sum().backward()
        optimizer.step()
    pruned(x)
    for layer in plan.layers:
        held = pruned.get_submodule(layer.weight.rpartition(".")[0])
        assert not held.weight[~masks[layer.name]].any()
        prune.remove(held, "weight")
        assert int((held.weight != 0).sum()) == int(masks[layer.name].sum())


def test_the_four_documented_lines_do_the_same(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    export_plan(masked(), "torch-prune", path)
    model, wanted = plain(), load_torch_prune(path, plain())
    for name, mask in load_file(path).items():
        owner, _, parameter = name.removesuffix("_mask").rpartition(".")
        prune.custom_from_mask(model.get_submodule(owner), parameter, mask)
    held = wanted.state_dict()
    assert all(torch.equal(value, held[name]) for name, value in model.state_dict().items())
    torch.testing.assert_close(model(inputs()), wanted(inputs()), rtol=0, atol=0)


class Attending(nn.Module):
    """Attention whose projections are used by the attention itself. 2 5 8 → 2 5 8."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.out = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.out(self.attention(x, x, x, need_weights=False)[0])
        return out


def test_a_weight_that_others_use_is_no_matter_for_prune(tmp_path: Path) -> None:
    """Torch would mask it once and train it freely ever after."""
    network = advisor.analyze(Attending(), torch.zeros(2, 5, 8), name="attending")
    plan = advisor.plan(network, budgets={"params": "40%"}, patterns=["unstructured"], include_ends=True)
    assert any(not layer.is_module and layer.is_masked for layer in plan.layers)
    with pytest.raises(PlanError, match="used by other modules than its own"):
        export_plan(plan, "torch-prune", tmp_path / "p.safetensors")
    export_plan(plan, "masks", tmp_path / "m.safetensors")
    model = Attending()
    x = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    wanted = plan.apply(model)(x)
    mask_weights(tmp_path / "m.safetensors", model)
    torch.testing.assert_close(model(x), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("load", [mask_weights, load_torch_prune])
def test_files_that_do_not_fit_change_nothing(load: object, tmp_path: Path) -> None:
    to = "masks" if load is mask_weights else "torch-prune"
    path = tmp_path / "x.safetensors"
    export_plan(masked(), to, path)
    other = plain()
    other.head = nn.Linear(16, 9)
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(PlanError, match=r"head.weight has shape \(9, 16\), its mask \(8, 16\)"):
        load(path, other)  # type: ignore[operator]
    del other.head
    with pytest.raises(PlanError, match=r"no parameter 'head.weight'"):
        load(path, other)  # type: ignore[operator]
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())
    save_file({"head.weight": torch.ones(8, 16)}, path)
    with pytest.raises(PlanError, match="has no 'sparsity_advisor' in its metadata"):
        load(path, plain())  # type: ignore[operator]
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(PlanError, match="cut off"):
        load(path, plain())  # type: ignore[operator]


def test_a_plan_without_masks_is_an_empty_file(tmp_path: Path) -> None:
    receipt = export_plan(dataclasses.replace(masked({})), "masks", tmp_path / "m.safetensors")
    assert receipt.numbers["thinned_layers"] == 0
    assert load_file(tmp_path / "m.safetensors") == {}
