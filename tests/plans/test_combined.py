"""Layers that are narrowed and sparse: a module that is really smaller, and computes what the masked dense one does."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import advisor
from advisor.coupling.keep import kept_classes
from advisor.coupling.trial import tried
from advisor.errors import PlanError
from advisor.network import Network
from advisor.patterns.narrowed import combined, inner_option, is_combined, thinned
from advisor.patterns.option import DENSE, Option
from advisor.planning.connect import connect
from advisor.planning.menu.width import width_levels
from advisor.plans.plan import Plan, PlanLayer, load_plan
from advisor.runtime.narrow import levels_from_options
from advisor.runtime.sparse import Sparse
from tests.coupling.networks import NETWORKS, example
from tests.coupling.networks import build as built
from tests.plans.samples import SHAPE, masked_copy, plan_of, small
from tests.plans.test_apply import check
from tests.plans.test_width import X, joined

INNER = {
    "channel": ({}, 0.4),
    "group": ({"block": 4}, 0.5),
    "block": ({"rows": 2, "columns": 2}, 0.4),
    "n:m": ({"n": 1, "m": 2}, 0.5),
    "unstructured": ({}, 0.3),
}


def options_at_half(network: Network, name: str, level: float = 0.5) -> dict[str, Option]:
    """Every group at `level` where it can be, and pattern `name` within every layer whose narrowed shape allows it."""
    from advisor.patterns.base import pattern

    found: dict[str, Option] = {layer.name: DENSE for layer in network.sparsifiable}
    parameters, density = INNER[name]
    for sides in width_levels(network, (1.0, level)).layers:
        layer = network.layer(sides.name)
        narrow = list(sides.options.values())[-1]
        inner = Option(pattern=name, density=density, parameters=parameters)
        smaller = thinned(layer, narrow)[0]
        legal = not pattern(name).problem(smaller, inner) and pattern(name).kept_weights(smaller, inner) > 0
        found[sides.name] = narrow
        if legal:
            found[sides.name] = inner if narrow == DENSE else combined(narrow, inner)
    return found


def planned(network: Network, options: dict[str, Option], selection: str = "random") -> Plan:
    levels = levels_from_options(network, options)
    made = connect(network, options, seed=5, selection=selection, levels=levels, rounding="ceil")
    layers = tuple(
        PlanLayer.of(
            layer,
            options[layer.name],
            seed=made.seeds[layer.name],
            selection="magnitude" if made.chosen and layer.name in made.chosen else "random",
            rewired=made.rewired.get(layer.name, ()),
            dropped=made.dropped.get(layer.name, ()),
            kept=made.kept.get(layer.name),
        )
        for layer in network.sparsifiable
    )
    return dataclasses.replace(plan_of(network, {}), layers=layers, chosen=made.chosen)


@pytest.mark.parametrize("selection", ["random", "magnitude"])
@pytest.mark.parametrize("name", INNER)
@pytest.mark.parametrize("build", [small, joined])
def test_equal_to_the_masked_network(build: Callable[[], nn.Module], name: str, selection: str, tmp_path: Path) -> None:
    model = build()
    network = advisor.analyze(model, X)
    options = options_at_half(network, name)
    assert any(is_combined(option) for option in options.values())
    plan = planned(network, options, selection)
    applied = check(plan, model, X)
    kept = {layer.name: int(mask.sum()) for layer, mask in zip(plan.layers, plan.masks().values(), strict=True)}
    for layer in plan.layers:
        inside, inner = layer.thinned
        held = [p for n, p in applied.named_parameters() if n.startswith(f"{layer.name}.") and "bias" not in n]
        assert sum(p.numel() for p in held) == kept[layer.name] <= inside.weights
        if inner == DENSE:
            assert held[0].shape == inside.weight_shape
    plan.save(tmp_path / "plan.json")
    loaded = load_plan(tmp_path / "plan.json")
    assert loaded == plan
    assert all(torch.equal(mask, loaded.masks()[layer]) for layer, mask in plan.masks().items())
    fast, again = (p.apply(model, for_inference=True) for p in (plan, loaded))
    torch.testing.assert_close(fast(X), masked_copy(plan, model).eval()(X), rtol=0, atol=1e-10)
    torch.testing.assert_close(again(X), fast(X), rtol=0, atol=0)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_any_way_in_which_channels_meet(name: str) -> None:
    """Residual, concatenated, split, shared, grouped, depthwise, transposed, shuffled, gated and recorded networks."""
    network = built(name)
    assert network.module is not None
    tried(network)
    options = options_at_half(network, "channel")
    plan = planned(network, options, "magnitude")
    module, given = network.module, example(name)
    narrow = plan.apply(module, example_inputs=given).eval()
    with torch.no_grad():
        torch.testing.assert_close(narrow(given), masked_copy(plan, module).eval()(given), rtol=0, atol=1e-9)
    for layer in plan.layers:
        weight = masked_copy(plan, module).get_parameter(layer.weight)
        assert weight.shape == network.layer(layer.name).weight_shape


def test_no_kept_connection_starts_or_ends_at_a_dead_channel() -> None:
    """A chain at one input per output: in the narrowed network every kept row is read, and reads what lives."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, bias=False), nn.ReLU(), nn.Conv2d(16, 32, 1, bias=False), nn.ReLU(),
        nn.Conv2d(32, 32, 1, bias=False), nn.ReLU(), nn.Conv2d(32, 16, 1, bias=False), nn.Flatten(), nn.Linear(16, 4),
    )  # fmt: skip
    network = advisor.analyze(model, (1, 3, 3, 3))
    options = options_at_half(network, "channel")
    for name, option in options.items():
        if is_combined(option):
            narrow, inner = option, inner_option(option)
            share = narrow.density / float(narrow.parameters["within"])
            options[name] = dataclasses.replace(
                option, density=share * 0.1, parameters={**option.parameters, "within": 0.1}
            )
            assert inner.pattern == "channel"
    plan = planned(network, options)
    assert any(layer.rewired for layer in plan.layers)
    masks = {name: mask.flatten(2).any(2) if mask.dim() > 2 else mask for name, mask in plan.masks().items()}
    order = ["0", "2", "4", "6", "8"]
    for before, after in pairwise(order):
        makes, reads = masks[before].any(1), masks[after].any(0)
        assert not (reads & ~makes).any()  # nothing is read that is not made
        assert not (makes & ~reads).any()  # nothing is made that is not read
    assert {int(row.sum()) for row in masks["4"] if row.any()} == {2}  # ceil(0.1 · 16) of the sixteen that are left


@pytest.mark.parametrize("build", [small, joined])
def test_what_was_trained_can_be_deployed(build: Callable[[], nn.Module]) -> None:
    model = build()
    network = advisor.analyze(model, X)
    plan = planned(network, options_at_half(network, "channel"))
    narrow = plan.apply(model)
    assert any(isinstance(child, Sparse) for child in narrow.modules())
    optimiser = torch.optim.SGD(narrow.parameters(), lr=0.01)
    narrow(X).square().sum().backward()
    optimiser.step()
    for known in (plan, dataclasses.replace(plan, network=None)):
        fast = known.apply(narrow, for_inference=True)
        torch.testing.assert_close(fast(X), narrow.eval()(X), rtol=0, atol=1e-10)
    with pytest.raises(PlanError, match="under a plan already"):
        plan.apply(narrow)


def test_channels_stay_by_the_coupled_filters_and_connections_within_them_by_magnitude() -> None:
    model = small()
    network = advisor.analyze(model, torch.zeros(SHAPE, dtype=torch.float64))
    options = options_at_half(network, "channel")
    plan = planned(network, options, "magnitude")
    layer = plan.layer("point")
    assert is_combined(layer.option)
    weight = model.point.weight.detach().numpy()[:, :, 0, 0]
    mask = plan.masks()["point"].numpy()[:, :, 0, 0]
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    stays = np.zeros(weight.shape, dtype=bool)
    for first, last in layer.kept_outputs:
        for begin, end in layer.kept_inputs:
            stays[first:last, begin:end] = True
    assert set(rows) <= set(np.flatnonzero(stays.any(1)))
    assert set(columns) <= set(np.flatnonzero(stays.any(0)))
    if not layer.rewired and not layer.dropped:
        for row in rows:
            kept, gone = np.abs(weight[row])[mask[row]], np.abs(weight[row])[stays[row] & ~mask[row]]
            assert kept.min() >= gone.max()


def test_a_hand_written_plan_finds_its_channels() -> None:
    model = joined()
    network = advisor.analyze(model, X)
    plan = planned(network, options_at_half(network, "channel"))
    layers = tuple(dataclasses.replace(layer, kept_inputs=(), kept_outputs=()) for layer in plan.layers)
    silent = dataclasses.replace(plan, layers=layers)
    assert all(torch.equal(mask, silent.masks()[name]) for name, mask in plan.masks().items())
    lost = dataclasses.replace(silent, network=None)
    with pytest.raises(PlanError, match="does not say which channels width keeps"):
        lost.masks()
    torch.testing.assert_close(lost.apply(model)(X), plan.apply(model)(X), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("within", 1.5, "maximum"),
        ("within", 0.1, "times within=0.1"),
        ("density", 0.9, "is not that of the narrowed layer"),
        ("in_channels", 1000, "outside"),
        ("pattern", "width", "has a parameter 'within'"),
        ("pattern", "width+colour", "unknown pattern"),
        ("dropped", [1000], "reach beyond"),
        ("rewired", [[0, 0, 9]], "outside"),
    ],
)
def test_hostile_plans(tmp_path: Path, field: str, value: object, message: str) -> None:
    network = advisor.analyze(joined(), X)
    planned(network, options_at_half(network, "channel")).save(tmp_path / "plan.json")
    document = json.loads((tmp_path / "plan.json").read_text())
    next(item for item in document["layers"] if item["pattern"] == "width+channel")[field] = value
    (tmp_path / "plan.json").write_text(json.dumps(document))
    with pytest.raises(PlanError, match=message) as caught:
        load_plan(tmp_path / "plan.json")
    assert "\n" not in str(caught.value)


def test_the_graph_of_what_remains_is_that_of_the_narrowed_module() -> None:
    from advisor.coupling.remaining import remaining_graph

    network = built("residual")
    levels = levels_from_options(network, options_at_half(network, "channel"))
    coupling = network.coupling
    graph = remaining_graph(coupling, kept_classes(coupling, levels))
    uses = {step.layer: step for step in graph.steps if hasattr(step, "layer")}
    from advisor.runtime.narrow import narrow

    assert network.module is not None
    small_network = advisor.analyze(narrow(network.module, network, levels), example("residual"))
    for layer in small_network.sparsifiable:
        assert len(uses[layer.name].inputs) == layer.in_channels
        assert len(uses[layer.name].outputs) == layer.out_channels
    assert graph.nodes < coupling.graph.nodes
    assert remaining_graph(coupling, np.ones(len(coupling.group_of), dtype=bool)) is coupling.graph
