"""Explanations, held against tables small enough to do by hand, and against every exchange on real ones."""

from __future__ import annotations

import json

import numpy as np
import pytest

import advisor
from advisor.errors import PlanError
from advisor.network import Network
from advisor.patterns.option import DENSE, Option
from advisor.planning.explaining.explain import explain
from advisor.planning.explaining.explanation import Basis
from advisor.planning.problem import pose
from advisor.planning.table import CostTable, LevelGroup
from advisor.plans.plan import load_plan

GRID = (DENSE, *(Option(pattern="channel", density=d) for d in (0.75, 0.5, 0.25)))


def table() -> CostTable:
    """Two layers of four options; the second option of b is beaten by the third one of it."""
    return CostTable(
        layers=("a", "b"),
        options=(GRID, GRID),
        costs={"latency": ([8.0, 6.0, 4.0, 2.0], [4.0, 3.5, 3.0, 1.0]), "params": ([100, 75, 50, 25],) * 2},
        loss=([0.0, 1.0, 3.0, 7.0], [0.0, 2.0, 1.5, 4.0]),
    )


def test_amounts_are_those_of_the_table() -> None:
    found = explain(
        Basis(table=table(), choice=np.array([2, 2]), limits={"latency": 7.5}, prices={"latency": 1.0}, methods={})
    )
    assert found.left == {"latency": 0.5}
    a, b = found.reasons
    assert (a.option, a.saves, a.loss) == ("channel d=0.5", {"latency": 4.0}, 3.0)
    assert a.down is not None
    assert (a.down.option, a.down.costs, a.down.loss, a.down.worth) == ("channel d=0.25", {"latency": -2.0}, 4.0, -2.0)
    assert a.down.fits
    assert a.up is not None
    assert (a.up.option, a.up.costs, a.up.loss, a.up.fits) == ("channel d=0.75", {"latency": 2.0}, -2.0, False)
    assert b.up is not None
    assert b.up.option == "dense d=1", "the option between costs more and loses more, so it is no step"
    for words in (
        "a: channel d=0.5; saves 4.000 ms of latency (33.33% of dense) for a loss of 3",
        "next step down, channel d=0.25: 2.000 ms less latency and a loss greater by 4",
        "what that frees is worth 2, less than it loses",
        "next step up, channel d=0.75: 2.000 ms more latency and a loss smaller by 2; what that takes is worth 2",
        "more than is left",
        "latency: budget 7.500 ms, 0.5000 ms left; more is worth a loss of 1 per ms of latency",
    ):
        assert words in found.text


def test_a_step_against_the_prices_says_that_they_are_of_fractions() -> None:
    found = explain(
        Basis(table=table(), choice=np.array([1, 0]), limits={"latency": 20.0}, prices={"latency": 9.0}, methods={})
    )
    assert (
        "what that frees is worth 18, more than it loses (by prices that hold for fractions of options)" in found.text
    )


def test_budgets_that_do_not_bind_still_order_the_steps() -> None:
    found = explain(Basis(table=table(), choice=np.array([0, 0]), limits={"latency": 20.0, "params": 500.0}))
    a, b = found.reasons
    assert a.down is not None
    assert a.down.option == "channel d=0.75"
    assert b.down is not None
    assert b.down.option == "channel d=0.5", "the nearest that no other beats"
    assert "more is worth nothing, as it does not bind" in found.text
    assert "and no budget needs it" in found.text
    assert a.up is None


def test_a_choice_over_its_budget_says_so_of_steps_that_do_not_mend_it() -> None:
    found = explain(Basis(table=table(), choice=np.array([0, 0]), limits={"latency": 1.0}, prices={"latency": 1.0}))
    assert "next step down, channel d=0.75: 2.000 ms less latency" in found.text
    assert "and still over a budget" in found.text
    assert "more than is left" not in found.text


def test_what_was_asked_limits_the_steps_and_is_said() -> None:
    found = explain(
        Basis(
            table=table(),
            choice=np.array([1, 0]),
            limits={"latency": 10.0},
            allowed=([1, 3], [0]),
            asked={"a": "max_density 0.75", "b": "pin dense"},
        )
    )
    a, b = found.reasons
    assert a.down is not None
    assert a.down.option == "channel d=0.25"
    assert a.up is None
    assert b.down is None
    assert "b: dense; asked for: pin dense; saves nothing of what is limited, for no loss" in b.text


def test_a_width_group_moves_as_a_whole() -> None:
    def width(a: float, b: float) -> Option:
        return Option(pattern="width", density=a * b, parameters={"in": a, "out": b})

    wide = (DENSE, GRID[2], width(1.0, 0.5))
    pair = (DENSE, GRID[2], width(0.5, 1.0))
    needs = (((0, 0),), ((0, 0),), ((0, 1),))
    made = CostTable(
        layers=("a", "b"),
        options=(wide, pair),
        costs={"macs": ([10.0, 5.0, 5.0], [20.0, 10.0, 10.0])},
        loss=([0.0, 1.0, 0.4], [0.0, 1.0, 0.5]),
        groups=(LevelGroup(name="g", levels=(1.0, 0.5), costs={"macs": np.array([4.0, 2.0])}),),
        requires=(needs, needs),
    )
    full = explain(Basis(table=made, choice=np.array([1, 0]), limits={"macs": 40.0}, prices={"macs": 0.1}))
    a, _, group = full.reasons
    assert a.up is not None
    assert a.up.option == "dense d=1", "options of other widths are no steps of one layer"
    assert a.down is None
    assert group.layers == ("a", "b")
    assert group.down is not None
    assert group.down.option == "width 0.5"
    assert group.down.costs == {"macs": made.total("macs", [2, 2]) - made.total("macs", [1, 0])}
    assert group.down.loss == pytest.approx(0.9 - 1.0)
    assert "next narrower, width 0.5: 12.00 less macs and a loss smaller by 0.1" in group.text
    narrow = explain(Basis(table=made, choice=np.array([2, 2]), limits={"macs": 40.0}, prices={"macs": 0.1}))
    group = narrow.reasons[-1]
    assert group.saves == {"macs": 17.0}
    assert group.loss == pytest.approx(0.9)
    assert group.up is not None
    assert group.up.costs["macs"] > 0
    held = explain(
        Basis(table=made, choice=np.array([1, 0]), limits={"macs": 40.0}, allowed=([0, 1, 2], [0, 1])),
    )
    assert [reason.name for reason in held.reasons] == ["a", "b"], "it cannot be narrower, so there is nothing to say"


@pytest.mark.parametrize("patterns", [("channel", "group"), ("channel", "width")])
def test_every_step_is_the_difference_of_totals(residual: Network, patterns: tuple[str, ...]) -> None:
    problem = pose(residual, budgets={"macs": "60%", "peak_memory": "95%"}, patterns=patterns)
    found = problem.solution()
    told = explain(problem.written(found).basis()).reasons  # type: ignore[misc]
    table = problem.built.table
    steps = 0
    for index, reason in enumerate(told[: len(table.layers)]):
        for step, sign in ((reason.down, 1), (reason.up, -1)):
            if step is None:
                continue
            steps += 1
            moved = found.choice.copy()
            moved[index] = [option.label for option in table.options[index]].index(step.option)
            for key, amount in step.costs.items():
                assert table.total(key, moved) - table.total(key, found.choice) == pytest.approx(amount)
            assert table.objective(moved) - table.objective(found.choice) == pytest.approx(step.loss)
            assert sign * step.loss > 0
            assert step.fits == all(table.total(key, moved) <= limit for key, limit in problem.limits.items())
            if step.fits:
                assert table.objective(moved) >= found.bound - 1e-9
    assert steps


def test_a_plan_explains_itself_until_it_is_loaded(digits: Network, tmp_path: object) -> None:
    plan = advisor.plan(digits, budgets={"macs": "50%"}, patterns=["channel"], pins={"features.8": "dense"})
    found = plan.explain()
    document = json.loads(json.dumps(found.to_json()))
    assert [item["name"] for item in document["reasons"]] == [layer.name for layer in plan.layers]
    assert document["prices"]["macs"] > 0
    by_name = {reason.name: reason for reason in found.reasons}
    assert by_name["features.8"].asked == "pin dense"
    assert "is the network's classifier" in by_name["classifier"].fixed
    assert "(--include-ends)" in by_name["classifier"].text
    assert found.reasons[1].method == "dense"
    assert "masked, as the dense layer runs" in found.reasons[1].text, "there is no kernel here"
    plan.save(f"{tmp_path}/plan.json")
    with pytest.raises(PlanError, match="does not hold the table that it was chosen from; make it anew"):
        load_plan(f"{tmp_path}/plan.json").explain()


def test_a_table_alone_is_explained_too() -> None:
    plan = advisor.plan(table(), budgets={"latency": "60%"}, min_density={"a": 0.5})
    found = plan.explain()
    assert [reason.name for reason in found.reasons] == ["a", "b"]
    assert found.reasons[0].asked == "min_density 0.5"
    assert "budget 7.200 ms" in found.text


def test_a_choice_of_another_table_is_refused() -> None:
    with pytest.raises(PlanError, match="a choice of 3 options for a table of 2 layers"):
        explain(Basis(table=table(), choice=np.array([0, 0, 0]), limits={}))
