"""Which budgets bind, in numbers and words."""

from __future__ import annotations

from pathlib import Path

import pytest

import advisor
from advisor.network import Network
from advisor.planning.solving.shadow import binding
from advisor.planning.solving.solve import solve
from advisor.plans.document import from_document
from advisor.plans.plan import load_plan
from tests.planning.tables import table_of


def test_a_binding_budget_has_the_price_of_its_exchange() -> None:
    # Layer 0 saves 4 ms for a loss of 2, layer 1 saves 4 ms for 8: at 10 ms half of the second is missing.
    table = table_of({"latency": [[8, 4], [8, 4]], "params": [[1, 1], [1, 1]]}, [[0, 2], [0, 8]])
    found = solve(table, {"latency": 10.0, "params": 5.0})
    assert found.prices["latency"] == pytest.approx(2.0)
    assert found.prices["params"] == 0.0
    (item,) = binding(found.prices, {"latency": 10.0, "params": 5.0}, found.objective)
    assert item.cost == "latency"
    assert item.text == "0.1 ms more would lower the loss by about 0.2"


@pytest.mark.parametrize(
    ("key", "limit", "start"),
    [
        ("latency", 50.0, "1 ms more"),
        ("params", 12.8e6, "100 k more"),
        ("macs", 2e9, "100 M more"),
        ("weight_memory", 97e6, "1 MB more"),
        ("energy", 3.0, "0.1 mJ more"),
    ],
)
def test_the_text_speaks_of_a_round_step(key: str, limit: float, start: str) -> None:
    (item,) = binding({key: 1.0 / limit}, {key: limit}, 1.0)
    assert item.text.startswith(start + " would lower the loss by about ")


def test_the_most_valuable_comes_first_and_free_ones_are_left_out() -> None:
    found = binding({"macs": 1e-9, "params": 1e-6, "energy": 0.0}, {"macs": 1e9, "params": 1e7, "energy": 1.0}, 1.0)
    assert [item.cost for item in found] == ["params", "macs"]
    assert binding({"macs": 1e-20}, {"macs": 1e9}, 1.0) == ()


def test_a_plan_says_so_and_keeps_it(digits: Network, tmp_path: Path) -> None:
    plan = advisor.plan(digits, budgets={"macs": "40%", "energy": "100%"}, patterns=["channel"])
    assert [item.cost for item in plan.binding] == ["macs"]
    looser = advisor.plan(digits, budgets={"macs": "45%"}, patterns=["channel"])
    worth = plan.binding[0].shadow_price * (looser.costs["macs"].budget - plan.costs["macs"].budget)  # type: ignore[operator]
    assert plan.objective - looser.objective == pytest.approx(worth, rel=0.5)
    plan.save(tmp_path / "plan.json")
    assert load_plan(tmp_path / "plan.json").binding == plan.binding
    document = plan.to_json()
    assert document["binding"][0].keys() == {"cost", "shadow_price", "text"}
    del document["binding"]
    assert from_document(document, "an older plan").binding == ()
