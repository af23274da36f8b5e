"""Plans of tables that stand alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import advisor
from advisor.devices.predicting.compose import plan_options
from advisor.errors import BudgetError, PlanError
from advisor.network import Network
from advisor.planning import CostTable
from tests.planning.tables import brute_force, plain_tables

TEXT = """layer,pattern,density,latency,params,watts,loss
a,dense,1,4,400,3,0
a,channel,0.5,2.5,200,2,0.1
a,block,0.5,2.0,200,2,0.3
b,dense,1,6,100,5,0
b,channel,0.25,1,25,1,0.7
"""


@pytest.fixture
def table(tmp_path: Path) -> CostTable:
    path = tmp_path / "mine.csv"
    path.write_text(TEXT)
    return CostTable.from_csv(path)


def test_a_table_is_planned_saved_and_loaded(table: CostTable, tmp_path: Path) -> None:
    plan = advisor.plan(table, budgets={"latency": "85%", "params": 450})
    assert (plan.model, plan.status) == ("mine", "optimal")
    assert plan.gap == pytest.approx(0.0, abs=1e-12)
    assert plan.objective == pytest.approx(0.1)
    assert plan.bound <= plan.objective
    assert [(layer.name, layer.pattern, layer.density) for layer in plan.layers] == [
        ("a", "channel", 0.5),
        ("b", "dense", 1.0),
    ]
    assert plan.costs["latency"].dense == 10.0
    assert plan.costs["latency"].plan == plan.costs["latency"].budget == 8.5
    assert plan.costs["watts"].plan == 7.0
    assert list(plan.costs) == ["params", "latency", "watts"]
    plan.save(tmp_path / "plan.json")
    loaded = advisor.load_plan(tmp_path / "plan.json")
    assert loaded == plan
    document = json.loads((tmp_path / "plan.json").read_text())
    assert document == plan.to_json()
    assert {"schema", "model", "input", "costs", "objective", "bound", "gap", "solve_seconds", "layers"} <= set(
        document
    )
    assert all({"name", "pattern", "density", "seed"} <= set(layer) for layer in document["layers"])


def test_a_cost_of_ones_own_is_limited_by_a_share_or_a_number(table: CostTable) -> None:
    assert advisor.plan(table, budgets={"watts": "50%"}).costs["watts"].plan == 4.0
    assert advisor.plan(table, budgets=["watts=7"]).costs["watts"].plan == 7.0
    assert advisor.plan(table, budgets={"watts": 0.9e1}).costs["watts"].budget == 9.0
    with pytest.raises(BudgetError, match="unknown budget 'macs'; known: latency, params, watts"):
        advisor.plan(table, budgets={"macs": "50%"})
    with pytest.raises(BudgetError, match=r"watts=2\.000 is below the smallest reachable 3\.000"):
        advisor.plan(table, budgets={"watts": 2})


def test_nothing_can_be_applied(table: CostTable, digits: Network) -> None:
    plan = advisor.plan(table, budgets={"latency": "85%"})
    for attempt in (
        lambda: plan.apply(nn.Linear(2, 2)),
        lambda: plan.masks(),
        lambda: plan.masks(nn.Linear(2, 2)),
        lambda: plan_options(digits, plan),
    ):
        with pytest.raises(PlanError, match=r"it was made from a cost table, so it has no network and no masks; plan"):
            attempt()


@pytest.mark.parametrize(
    "argument",
    [
        {"sensitivity": "uniform"},
        {"selection": "magnitude"},
        {"seed": 3},
        {"include_ends": True},
        {"exchange": {}},
        {"data": np.zeros(2)},
    ],
)
def test_what_a_table_has_no_use_for_is_refused(table: CostTable, argument: dict[str, Any]) -> None:
    with pytest.raises(PlanError, match="says nothing about a cost table"):
        advisor.plan(table, budgets={"latency": "85%"}, **argument)


def test_constraints_and_patterns(table: CostTable) -> None:
    assert advisor.plan(table, budgets={"latency": "85%"}, pins={"b": "channel"}).layer("b").density == 0.25
    assert advisor.plan(table, budgets={"latency": "80%"}, patterns=["block"]).layer("a").pattern == "block"
    with pytest.raises(PlanError, match="allow gruop for \\*: unknown pattern 'gruop'"):
        advisor.plan(table, budgets={"latency": "85%"}, patterns=["gruop"])
    with pytest.raises(BudgetError, match=r"b \(pin dense\) takes 6\.000 ms of it, and could take 1\.000 ms"):
        advisor.plan(table, budgets={"latency": "50%"}, pins={"b": "dense"})


def test_a_plan_file_of_a_table_is_checked(table: CostTable, tmp_path: Path) -> None:
    document = advisor.plan(table, budgets={"latency": "85%"}).to_json()
    for change, says in (
        ({"of_table": False}, "True was expected"),
        ({"layers": [document["layers"][0]] * 2}, "layer 'a' is there twice"),
        ({"layers": [document["layers"][0] | {"weight": "a.weight"}]}, "'weight' was unexpected"),
    ):
        (tmp_path / "plan.json").write_text(json.dumps(document | change))
        with pytest.raises(PlanError, match=says):
            advisor.load_plan(tmp_path / "plan.json")
    del document["of_table"]
    (tmp_path / "plan.json").write_text(json.dumps(document))
    with pytest.raises(PlanError, match="at layers/0"):
        advisor.load_plan(tmp_path / "plan.json")


@settings(max_examples=40, deadline=None)
@given(table=plain_tables(), part=st.floats(0.05, 1.0))
def test_equals_trying_everything(table: CostTable, part: float) -> None:
    dense = table.totals(table.dense)
    budgets = {"params": f"{100 * part}%", "weight_memory": "90%"}
    best = brute_force(
        table, {"params": (100 * part / 100) * dense["params"], "weight_memory": 0.9 * dense["weight_memory"]}
    )
    if best is None:
        with pytest.raises(BudgetError):
            advisor.plan(table, budgets=budgets, gap=0.0)
        return
    plan = advisor.plan(table, budgets=budgets, gap=0.0)
    assert plan.objective == pytest.approx(best, abs=1e-9)
    assert np.isclose(sum(c[k] for c, k in zip(table.loss, _choice(table, plan), strict=True)), plan.objective)


def _choice(table: CostTable, plan: advisor.Plan) -> list[int]:
    return [options.index(layer.option) for options, layer in zip(table.options, plan.layers, strict=True)]
