"""Schedules as data, against the training methods that run them here."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from advisor.errors import PlanError
from advisor.patterns.candidates import end_layers
from advisor.plans.export import export_plan
from advisor.plans.schedules import MaskSchedule, dynamic_schedule, incremental_schedule
from tests.plans.export.samples import OPTIONS, SCHEDULES, masked, narrowed, plain
from tests.plans.samples import rewired, small_plan
from validation.methods.sparse import RigL
from validation.methods.sparse.incremental import Growth, growing_weights
from validation.methods.sparse.modules import masked_module


def test_births_are_the_masks_that_incremental_training_has(tmp_path: Path) -> None:
    """Level by level, for all patterns and for the dense layers that grow, too."""
    options = {name: option for name, option in OPTIONS.items() if name != "second"}
    plan, dense = masked(options), plain()
    asked = MaskSchedule(method="incremental", every=7, start=0.05)
    export_plan(plan, "schedule", tmp_path / "s.json", module=dense, schedule=asked)
    document = json.loads((tmp_path / "s.json").read_text())
    assert document["steps"] == [list(step) for step in incremental_schedule(0.05, 7)]
    births = load_file(tmp_path / document["masks"]["file"])
    module = masked_module(plain(), plan)
    weights = growing_weights(module, plan.network, plan)
    names = {id(p): n for n, p in module.named_parameters()}
    assert births.keys() == {names[id(one.parameter)] for one in weights}
    assert "second.weight" in births
    assert "first.weight" in births
    for one in weights:
        growth = Growth(one, plan.layer(one.layer.name).seed)
        for level, (_, density) in enumerate(document["steps"]):
            one.take(growth.at(density))
            assert np.array_equal(births[names[id(one.parameter)]] <= level, ~one.gone.numpy()), (one.layer.name, level)


def test_levels_are_nested_and_end_in_the_plans_masks(tmp_path: Path) -> None:
    plan = rewired(small_plan(), "up")  # also grouped and transposed
    receipt = export_plan(plan, "schedule", tmp_path / "s.json", schedule=SCHEDULES["incremental"])
    births, masks = load_file(receipt.files[1]), plan.masks()
    for layer in plan.layers:
        assert np.array_equal(births[layer.weight] != 255, masks[layer.name].numpy())
    counts = [sum(int((held <= level).sum()) for held in births.values()) for level in range(5)]
    assert counts == sorted(counts)
    assert (receipt.numbers["weights_at_first"], receipt.numbers["weights_at_last"]) == (counts[0], counts[-1])


def test_a_narrowed_plan_grows_within_its_channels(tmp_path: Path) -> None:
    plan = narrowed()
    with pytest.raises(PlanError, match="none of its layers is masked"):
        export_plan(plan, "schedule", tmp_path / "s.json", schedule=SCHEDULES["incremental"])
    receipt = export_plan(plan, "schedule", tmp_path / "s.json", module=plain(), schedule=SCHEDULES["incremental"])
    births, masks = load_file(receipt.files[1]), plan.masks()
    assert plan.network is not None
    ends = end_layers(plan.network)
    assert births.keys() == {layer.weight for layer in plan.layers if layer.name not in ends}
    for layer in plan.layers:
        if layer.name not in ends:
            assert np.array_equal(births[layer.weight] != 255, masks[layer.name].numpy())


@pytest.mark.parametrize("method", ["set", "rigl"])
def test_dynamic_schedules(method: str, tmp_path: Path) -> None:
    plan = masked()
    receipt = export_plan(plan, "schedule", tmp_path / "s.json", schedule=SCHEDULES[method])
    document = json.loads(receipt.files[0].read_text())
    held = load_file(receipt.files[1])
    assert all(np.array_equal(held[layer.weight], plan.masks()[layer.name].numpy()) for layer in plan.layers)
    assert document["method"] == method
    assert document["grow"] == ("random" if method == "set" else "largest L1 norm of the dense gradient")
    shares = dict(document["steps"])
    if method == "set":
        assert shares == dict.fromkeys(range(10, 100, 10), 0.3)
    else:
        model = masked_module(plain(), plan)
        rigl = RigL(model, plan, torch.optim.SGD(model.parameters(), lr=0.1), every=10, end=75)
        assert shares == {step: pytest.approx(rigl.share(step)) for step in range(10, 75, 10)}
        assert shares[10] == pytest.approx(0.15 * (1 + np.cos(np.pi * 10 / 75)))


def test_rigls_published_setting() -> None:
    """Every 100 steps up to step 25 000, drop fraction 0.3."""
    steps = dynamic_schedule(0.3, 100, 25_000, anneal=True)
    assert (steps[0][0], steps[-1][0], len(steps)) == (100, 24_900, 249)
    assert dict(steps)[12_500] == pytest.approx(0.15)
    assert all(a[1] > b[1] for a, b in pairwise(steps))


def test_a_dense_plan_has_nothing_to_move(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="no layer has a mask whose connections could move"):
        export_plan(masked({}), "schedule", tmp_path / "s.json", schedule=SCHEDULES["set"])


def test_a_ramp_of_too_many_levels_is_refused(tmp_path: Path) -> None:
    tiny = MaskSchedule(method="incremental", every=1, start=1e-90)
    with pytest.raises(PlanError, match="doublings are too many"):
        export_plan(masked(), "schedule", tmp_path / "s.json", schedule=tiny)


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"method": "sett", "every": 1}, "unknown schedule 'sett'; did you mean 'set'"),
        ({"method": "set", "every": 10}, "it needs the step from which masks stay"),
        ({"method": "incremental", "every": 10, "end": 20}, "end=20 has no say"),
        ({"method": "incremental", "every": 0}, "every=0 is no number of optimiser steps"),
        ({"method": "rigl", "every": 10, "end": 10}, "choose end above every"),
        ({"method": "rigl", "every": 10, "end": 50, "drop": 1.0}, "drop=1.0 is no share"),
        ({"method": "rigl", "every": 1, "end": 10_000_000}, "more than 1,000,000"),
    ],
)
def test_schedules_that_make_no_sense(told: dict[str, object], reason: str) -> None:
    with pytest.raises(PlanError, match=reason):
        MaskSchedule(**told)  # type: ignore[arg-type]
