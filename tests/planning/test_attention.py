"""The planner offers hierarchical attention with all that it costs, and only where that is less."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import timm
import torch

import advisor
from advisor.devices.predicting.compose import predict_latency
from advisor.devices.profile import load_profile
from advisor.errors import PatternError, PlanError
from advisor.network import Network
from advisor.patterns import hierarchical
from advisor.patterns.option import DENSE, Option
from advisor.planning.build import build_table
from advisor.planning.menu.options import menu
from advisor.planning.sensitivity import losses
from tests.planning.test_build import timed
from tests.runtime.attention.networks import Patches, patches

LAYER = "attention:attention"


@pytest.fixture(scope="module")
def small() -> tuple[Patches, Network]:
    return patches()


def test_costs_are_those_that_are_counted(small: tuple[Patches, Network]) -> None:
    module, network = small
    plan = advisor.plan(network, budgets={"macs": "60%"}, patterns=["hierarchical"])
    (chosen,) = plan.attention
    assert chosen.name == LAYER
    assert plan.layers == tuple(layer for layer in plan.layers if layer.pattern == "dense")
    counted = advisor.analyze(plan.apply(module), (torch.zeros(1, 3, 32, 32),), name="applied")
    assert plan.costs["macs"].plan == counted.macs <= 0.6 * network.macs
    assert plan.costs["params"].plan == counted.params > network.params
    assert plan.costs["weight_memory"].plan == counted.weight_bytes
    assert plan.costs["macs"].dense == network.macs
    assert plan.costs["params"].dense == network.params
    assert plan.costs["weight_memory"].dense == network.weight_bytes
    assert not counted.unsupported_ops


def test_it_stands_beside_other_patterns(small: tuple[Patches, Network]) -> None:
    module, network = small
    pins = {LAYER: "hierarchical@window=4,pool=4", "attention.out_proj": "channel@0.5", "mlp.0": "width"}
    plan = advisor.plan(network, budgets={"macs": "90%"}, patterns=["hierarchical", "channel", "width"], pins=pins)
    assert [(x.window, x.pool) for x in plan.attention] == [(4, 4)]
    assert plan.layer("attention.out_proj").option.label == "channel d=0.5"
    assert plan.layer("mlp.0").pattern == "width"
    applied = plan.apply(module)
    assert applied(torch.randn(2, 3, 32, 32)).shape == (2, 5)
    weight = applied.attention.out_proj.weight
    assert int((weight != 0).sum()) == int(plan.masks(module)["attention.out_proj"].sum()) == 128
    assert LAYER not in plan.masks(module)


def test_the_energy_of_plain_attention_is_only_moved(small: tuple[Patches, Network]) -> None:
    _, network = small
    with_it = advisor.plan(network, budgets={"macs": "60%"}, patterns=["hierarchical"])
    without = advisor.plan(network, budgets={"macs": "99%"}, patterns=["channel"])
    assert with_it.costs["energy"].dense == pytest.approx(without.costs["energy"].dense)
    (chosen,) = with_it.attention
    shape, pj = chosen.shape, load_profile("energy-45nm").energy
    assert pj is not None
    macs = with_it.costs["macs"].plan - with_it.costs["macs"].dense
    tokens, means, c = shape.tokens, hierarchical.pooled_tokens(shape, chosen.option.parameters), shape.channels
    # Two steps read and write maps where plain attention does once; q reads and writes one, kv reads means, writes two.
    moved = (2 + 2) * tokens * c + 3 * means * c + 3 * c**2
    expected = (macs * pj.mac_pj + 4 * moved * pj.dram_byte_pj) / 1e9
    assert with_it.costs["energy"].plan - with_it.costs["energy"].dense == pytest.approx(expected)


def test_plain_attention_stays_where_the_budget_lets_it(small: tuple[Patches, Network]) -> None:
    plan = advisor.plan(small[1], budgets={"macs": "100%"}, patterns=["hierarchical"])
    assert plan.attention == ()
    assert plan.objective == 0


def test_its_loss_is_that_of_the_projection_at_its_density(small: tuple[Patches, Network]) -> None:
    _, network = small
    plan = advisor.plan(network, budgets={"macs": "60%"}, patterns=["hierarchical"])
    (chosen,) = plan.attention
    stand_in = Option(pattern="unstructured", density=chosen.density)
    expected = losses(network, {"attention.out_proj": (DENSE, stand_in)}, "erk")["attention.out_proj"][1]
    assert plan.objective == pytest.approx(expected)
    assert expected > 0
    assert any(note.startswith("losses of hierarchical attention are assumed, not estimated") for note in plan.notes)
    twice = advisor.plan(network, budgets={"macs": "60%"}, patterns=["hierarchical"], exchange={"hierarchical": 2.0})
    assert twice.objective == pytest.approx(2 * expected)
    assert any("times 2 (exchange)" in note for note in twice.notes)


@pytest.mark.parametrize("sensitivity", ["uniform", "magnitude", "synflow"])
def test_every_sensitivity_prices_it(small: tuple[Patches, Network], sensitivity: str) -> None:
    plan = advisor.plan(small[1], budgets={"macs": "60%"}, patterns=["hierarchical"], sensitivity=sensitivity)
    assert len(plan.attention) == 1
    assert plan.objective > 0


def test_it_is_explained(small: tuple[Patches, Network]) -> None:
    _, network = small
    plan = advisor.plan(network, budgets={"macs": "60%"}, patterns=["hierarchical"])
    reason = next(reason for reason in plan.explain().reasons if reason.name == LAYER)
    assert reason.option == plan.attention[0].option.label
    assert reason.saves["macs"] == plan.costs["macs"].dense - plan.costs["macs"].plan
    assert "masked" not in reason.text
    assert any("new parameters come in untrained" in note for note in plan.notes)


def vit(**changed: Any) -> Network:
    settings = {
        "img_size": 56,
        "patch_size": 4,
        "embed_dim": 48,
        "depth": 1,
        "num_heads": 3,
        "num_classes": 5,
    } | changed
    with torch.device("meta"):
        module = timm.create_model("vit_tiny_patch16_224", **settings)
    size = settings["img_size"]
    return advisor.analyze(module, (torch.zeros(1, 3, size, size, device="meta"),), name="vit")


def test_at_few_tokens_it_is_only_taken_when_pinned() -> None:
    """14x14 tokens of 480 channels: what the projections add is more than what fewer pairs save."""
    network = vit(embed_dim=480)
    name = "blocks.0.attn:attention"
    with pytest.raises(PlanError, match=r"no attention layer of 'vit' can have it.* at 197 tokens it costs more than"):
        advisor.plan(network, budgets={"macs": "90%"}, patterns=["hierarchical"])
    beside = advisor.plan(network, budgets={"macs": "90%"}, patterns=["hierarchical", "channel"])
    assert beside.attention == ()
    assert any(note.startswith(f"hierarchical is not offered for {name}: at 197 tokens") for note in beside.notes)
    reason = next(reason for reason in beside.explain().reasons if reason.name == name)
    assert "costs more than it saves" in reason.text
    pinned = advisor.plan(
        network,
        budgets={"macs": "90%"},
        patterns=["hierarchical", "channel"],
        pins={name: "hierarchical@window=7,pool=2"},
    )
    (chosen,) = pinned.attention
    assert (chosen.window, chosen.pool, chosen.shape.prefix) == (7, 2, 1)
    assert hierarchical.macs(chosen.shape, chosen.option) > chosen.shape.plain_macs
    assert pinned.costs["macs"].plan <= 0.9 * network.macs  # other layers pay for it


def test_width_leaves_the_channels_around_it_alone() -> None:
    network = vit()
    free = menu(network, ["width"])
    held = menu(network, ["width", "hierarchical"])
    projections = ("blocks.0.attn.qkv", "blocks.0.attn.proj")
    assert all(len(free.options[name]) > 1 for name in projections)
    assert all(held.options[name] == (DENSE,) for name in projections)
    assert len(held.options["blocks.0.mlp.fc1"]) > 1


def test_pins_that_cannot_be(small: tuple[Patches, Network]) -> None:
    def planned(pin: str) -> None:
        advisor.plan(small[1], budgets={"macs": "90%"}, patterns=["hierarchical"], pins={LAYER: pin})

    with pytest.raises(PlanError, match=f"layer {LAYER}: the window holds all 16x16 tokens"):
        planned("hierarchical@window=16,pool=2")
    with pytest.raises(PlanError, match="window and pool are whole numbers"):
        planned("hierarchical@window=x,pool=2")


def test_networks_without_attention_are_told_so(digits: Network) -> None:
    with pytest.raises(
        PlanError, match=r"no attention layer of .* can have it, since none was found; offer other patterns"
    ):
        advisor.plan(digits, budgets={"macs": "50%"}, patterns=["hierarchical"])
    with pytest.raises(PatternError, match="did you mean 'hierarchical'"):
        advisor.plan(digits, budgets={"macs": "50%"}, patterns=["hierarchic"])


def test_nobody_has_timed_it(small: tuple[Patches, Network]) -> None:
    _, network = small
    profile = timed(network, ["channel"])
    with pytest.raises(PlanError, match="no profile has timed hierarchical attention"):
        advisor.plan(network, budgets={"latency": "90%"}, patterns=["hierarchical"], profile=profile)
    beside = advisor.plan(network, budgets={"macs": "90%"}, patterns=["hierarchical", "channel"], profile=profile)
    assert beside.attention == ()
    assert any("has timed hierarchical attention" in note for note in beside.notes)
    plan = advisor.plan(network, budgets={"macs": "60%"}, patterns=["hierarchical"])
    predicted = predict_latency(network, profile, plan)
    assert any("so they count as plain" in note for note in predicted.notes)


def test_continuous_densities_leave_it_as_it_is(small: tuple[Patches, Network]) -> None:
    plan = advisor.plan(
        small[1],
        budgets={"macs": "50%"},
        patterns=["hierarchical", "unstructured"],
        continuous=True,
        pins={LAYER: "hierarchical@window=7,pool=4"},
    )
    (chosen,) = plan.attention
    assert chosen.density == hierarchical.hierarchical(chosen.shape, 7, 4).density


def test_rows_stand_behind_those_of_the_weights(small: tuple[Patches, Network]) -> None:
    _, network = small
    from advisor.planning.constraints.asked import Asked
    from advisor.planning.menu.attention import attention_menu

    attention = attention_menu(network, ["hierarchical"], Asked())
    plain = build_table(network, menu(network, ["channel"])).table
    table = build_table(network, replace(menu(network, ["channel"]), attention=attention)).table
    assert table.layers == (*plain.layers, LAYER)
    assert table.constants["macs"] == plain.constants["macs"] - network.layer(LAYER).macs
    for key in plain.costs:
        assert table.total(key, table.dense) == pytest.approx(plain.total(key, plain.dense))
        assert all(np.array_equal(a, b) for a, b in zip(plain.costs[key], table.costs[key], strict=False))
