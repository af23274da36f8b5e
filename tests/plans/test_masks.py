"""Masks are a function of the plan file: of its bits, and of nothing else."""

import dataclasses
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import advisor
from advisor.errors import PlanError
from advisor.patterns.base import pattern
from advisor.patterns.connectivity import repair
from advisor.patterns.option import Option
from advisor.patterns.saliency import unit_scores
from advisor.plans.masks import connections_of, mask_of
from advisor.plans.plan import Plan, PlanLayer
from tests.plans.samples import OPTIONS, plan_of, rewired, small, small_plan

PLAN = rewired(small_plan(), "up")


def digests(plan: Plan) -> dict[str, str]:
    return {name: hashlib.sha256(mask.numpy().tobytes()).hexdigest()[:16] for name, mask in plan.masks().items()}


def test_shapes_numbers_and_dense_layers() -> None:
    plan = plan_of(PLAN.network, {"up": OPTIONS["up"], "grouped": OPTIONS["grouped"]})
    found = plan.masks(small())
    assert list(found) == [layer.name for layer in plan.layers]
    for layer in plan.layers:
        mask = found[layer.name]
        assert mask.dtype == torch.bool
        assert tuple(mask.shape) == layer.weight_shape
        assert int(mask.sum()) == pattern(layer.pattern).kept_weights(layer.layer, layer.option)


def test_the_bits_are_those_of_the_first_release() -> None:
    """Files in the world depend on them: a change here breaks every plan that was ever saved."""
    assert digests(small_plan()) == {
        "stem.0": "5814ee97ef1d182e",
        "grouped": "88edb1e078d3b934",
        "up": "e421d9428006ff89",
        "point": "6b058ee186a4857e",
        "head": "c7b0252ed921c9ac",
    }


def test_the_same_in_another_process_with_another_seed(tmp_path: Path) -> None:
    plans = {selection: rewired(small_plan(selection=selection), "up") for selection in ("random", "magnitude")}
    for selection, plan in plans.items():
        plan.save(tmp_path / f"{selection}.json")
    code = (
        "import sys, json, hashlib, torch, numpy, random; from advisor.plans.plan import load_plan\n"
        "torch.manual_seed(7); numpy.random.seed(7); random.seed(7); torch.set_default_dtype(torch.float64)\n"
        "found = [load_plan(path).masks() for path in sys.argv[1:]]\n"
        "bits = lambda mask: hashlib.sha256(mask.numpy().tobytes()).hexdigest()[:16]\n"
        "print(json.dumps([{name: bits(mask) for name, mask in masks.items()} for masks in found]))"
    )
    command = [sys.executable, "-c", code, *(str(tmp_path / f"{selection}.json") for selection in plans)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [digests(plan) for plan in plans.values()]
    assert digests(plans["random"]) != digests(plans["magnitude"])


def test_torch_and_numpy_keep_their_own_states() -> None:
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    PLAN.masks()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_rewired_connections_move() -> None:
    row, given, taken = PLAN.layer("up").rewired[0]
    plain, moved = small_plan().masks()["up"], PLAN.masks()["up"]
    # Stored (in, out, *kernel): row 0 is output 0.
    assert plain[given, row].all()
    assert not plain[taken, row].any()
    assert moved[taken, row].all()
    assert not moved[given, row].any()
    assert int(moved.sum()) == int(plain.sum())


def test_dropped_rows_are_empty() -> None:
    layer = dataclasses.replace(PLAN.layer("up"), rewired=(), dropped=(1, 5))
    mask = mask_of(PLAN, layer)
    assert not mask[:, [1, 5]].any()
    assert mask[:, [0, 2, 3, 4, 6, 7]].any(axis=(0, 2, 3)).all()


def test_a_move_that_the_draw_does_not_allow_is_refused() -> None:
    layer = PLAN.layer("up")
    row, given, taken = layer.rewired[0]
    with pytest.raises(PlanError, match=rf"rewired \({row}, {taken}, {given}\) does not fit"):
        mask_of(PLAN, dataclasses.replace(layer, rewired=((row, taken, given),)))


WIDTH = {"in": 0.5, "out": 0.5, "rounding": "ceil"}


@pytest.mark.parametrize(
    ("kind", "module", "inputs", "outputs", "groups"),
    [
        ("conv2d", nn.Conv2d(6, 4, 3), [0, 1, 5], [1, 2], None),
        ("conv2d", nn.Conv2d(8, 4, 1, groups=2), [0, 2, 4, 7], [0, 3], None),
        ("conv2d", nn.Conv2d(6, 6, 3, groups=6), [0, 3, 4], [0, 3, 4], 3),
        ("conv2d", nn.Conv2d(3, 6, 3, groups=3), [0, 2], [0, 1, 4, 5], 2),
        ("conv_transpose1d", nn.ConvTranspose1d(6, 4, 2), [1, 2, 3], [0, 3], None),
        ("conv_transpose2d", nn.ConvTranspose2d(4, 8, 2, groups=2), [0, 3], [1, 2, 4, 7], None),
        ("linear", nn.Linear(6, 4), [2, 3, 4], [0, 1], None),
    ],
)
def test_width_keeps_rows_times_columns(
    kind: str, module: nn.Module, inputs: list[int], outputs: list[int], groups: int | None
) -> None:
    shape = tuple(module.weight.shape)
    full = getattr(module, "groups", 1)
    c_in = shape[0] if "transpose" in kind else shape[1] * full
    c_out = shape[1] * full if "transpose" in kind else shape[0]
    parameters = (
        WIDTH | {"in_channels": len(inputs), "out_channels": len(outputs)} | ({"groups": groups} if groups else {})
    )
    plan = plan_of(PLAN.network, {})
    layer = advisor.network.Layer(
        name="it", kind=kind, params=0, macs=0, activation_elements=0, input_shape=(), output_shape=(),
        weight="it.weight", weight_shape=shape, groups=full,
    )  # fmt: skip
    option = Option(pattern="width", density=0.25, parameters=parameters)
    made = PlanLayer.of(layer, option, seed=0, kept=(np.array(inputs), np.array(outputs)))
    mask = mask_of(dataclasses.replace(plan, layers=(made,)), made)
    assert mask.shape == shape
    for i in range(c_in):
        for o in range(c_out):
            if i // (c_in // full) != o // (c_out // full):
                continue  # no connection between groups
            place = (i, o % (c_out // full)) if "transpose" in kind else (o, i % (c_in // full))
            assert mask[place].all() == mask[place].any() == (i in inputs and o in outputs)
    assert dataclasses.replace(plan, layers=(made,)).masks()["it"].sum() == pattern("width").kept_weights(layer, option)


def test_width_without_channels_or_network_asks_for_the_module() -> None:
    option = Option(pattern="width", density=0.5, parameters=WIDTH | {"in": 1.0, "in_channels": 8, "out_channels": 4})
    plan = dataclasses.replace(plan_of(PLAN.network, {"point": option}), network=None)
    with pytest.raises(PlanError, match="layer point does not say which channels width keeps; pass the model"):
        plan.masks()


@pytest.mark.parametrize("selection", ["random", "magnitude"])
def test_masks_are_what_the_repair_of_dead_channels_left(selection: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, bias=False), nn.ReLU(), nn.Conv2d(16, 16, 1, bias=False), nn.ReLU(),
        nn.Conv2d(16, 16, 1, bias=False), nn.ReLU(), nn.Conv2d(16, 16, 1, bias=False), nn.Flatten(), nn.Linear(16, 4),
    )  # fmt: skip
    network = advisor.analyze(model, (1, 3, 3, 3))
    layers = {layer.name: layer for layer in network.sparsifiable}
    plan = advisor.plan(network, budgets={"macs": "46%"}, patterns=["channel"], selection=selection)
    chosen, scores = {}, {}
    for layer in plan.layers:
        if layer.pattern == "channel":
            if selection == "magnitude":
                scores[layer.name] = unit_scores(
                    layers[layer.name], layer.option, model.get_parameter(layer.weight).detach().numpy()
                )
            drawn = pattern("channel").connections(
                layers[layer.name], layer.option, seed=layer.seed, scores=scores.get(layer.name)
            )
            chosen[layer.name] = (layer.option, drawn)
    repaired, repair_made = repair(network.coupling.graph, layers, chosen, scores or None)
    assert sum(map(len, repair_made.rewired.values())) > 0, "the draw must have left something to repair"
    for name, connections in repaired.items():
        assert np.array_equal(connections_of(plan, plan.layer(name)), connections)
    kept = sum(int(mask.sum()) for mask in plan.masks(model).values())
    assert kept + 4 == plan.costs["params"].plan
