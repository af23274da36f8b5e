"""Plans that list which channels stay, whichever they are: no factor has to have left them."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

import advisor
from advisor.errors import PlanError
from advisor.patterns.option import Option
from advisor.plans.plan import Plan, PlanLayer, load_plan
from tests.plans.samples import masked_copy, plan_of
from tests.plans.test_width import X, joined


def listed(sides: dict[str, tuple[list[int], list[int]]]) -> Plan:
    network = advisor.analyze(joined(), X)
    plan = plan_of(network, {})
    layers = list(plan.layers)
    for name, (inputs, outputs) in sides.items():
        full = network.layer(name)
        parameters = {"in": len(inputs) / full.in_channels, "out": len(outputs) / full.out_channels}
        parameters |= {"rounding": "listed", "in_channels": len(inputs), "out_channels": len(outputs)}
        option = Option(pattern="width", density=0.5, parameters=parameters)
        place = [layer.name for layer in layers].index(name)
        layers[place] = PlanLayer.of(full, option, seed=0, kept=(inputs, outputs))
    return dataclasses.replace(plan, layers=tuple(layers))


# `mixed` reads 8 channels of `first` and 4 of `side`: 6 of the one and 1 of the other stay, which no one factor leaves.
SIDES = {
    "first.0": ([0, 1, 2, 3], [0, 2, 3, 4, 6, 7]),
    "depthwise": ([0, 2, 3, 4, 6, 7], [0, 2, 3, 4, 6, 7]),
    "side": ([0, 2, 3, 4, 6, 7], [2]),
    "mixed": ([0, 2, 3, 4, 6, 7, 10], list(range(16))),
}


def test_any_channels_may_stay(tmp_path: Path) -> None:
    plan, model = listed(SIDES), joined()
    plan.save(tmp_path / "plan.json")
    loaded = load_plan(tmp_path / "plan.json")
    narrow = loaded.apply(model)
    assert narrow.mixed.weight.shape == (16, 7, 3, 3)
    masked = masked_copy(plan, model)
    kept = {8: [0, 2, 3, 4, 6, 7], 4: [2]}
    with torch.no_grad():  # what width takes from norms and biases, too
        for tensor in (*masked.first.parameters(), *masked.depthwise.parameters(), *masked.side.parameters()):
            if tensor.dim() == 1:
                tensor[[c for c in range(len(tensor)) if c not in kept[len(tensor)]]] = 0
    torch.testing.assert_close(narrow.eval()(X), masked.eval()(X), rtol=0, atol=1e-10)


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    model = joined()
    with pytest.raises(PlanError, match=r"layer mixed \(width\) keeps 7 inputs, but"):
        listed({**SIDES, "side": ([0, 2, 3, 4, 6, 7], [1])}).apply(model)
    with pytest.raises(PlanError, match="cannot lose channels: the network's output"):
        listed({"head": (list(range(256)), [0, 1])}).apply(model)
    plan = listed(SIDES)
    layer = plan.layer("side")
    other = dataclasses.replace(layer, parameters={**layer.parameters, "rounding": "ceil"})
    mixed = dataclasses.replace(plan, layers=tuple(other if item is layer else item for item in plan.layers))
    with pytest.raises(PlanError, match="some layers list the channels that stay"):
        mixed.apply(model)
    plan.save(tmp_path / "plan.json")
    document = json.loads((tmp_path / "plan.json").read_text())
    for item in document["layers"]:
        item.pop("kept_inputs", None)
        item.pop("kept_outputs", None)
    (tmp_path / "plan.json").write_text(json.dumps(document))
    with pytest.raises(PlanError, match="stands for kept_inputs and kept_outputs, which are missing"):
        load_plan(tmp_path / "plan.json")
