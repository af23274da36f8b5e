"""Figures of whole-network costs: plan against budgets, front, training results, receipts."""

from dataclasses import replace

import pytest

from advisor.figures import (
    accuracy_vs_cost_info,
    accuracy_vs_cost_plot,
    costs_vs_budgets_info,
    costs_vs_budgets_plot,
    frontier_info,
    frontier_plot,
    predicted_vs_measured_info,
    predicted_vs_measured_plot,
)
from tests.figures import samples


def test_costs_with_a_budget_come_first_and_know_whether_it_is_met() -> None:
    bars = costs_vs_budgets_info(samples.plan()).bars
    assert [bar.key for bar in bars] == ["macs", "latency", "params"]
    assert [bar.met for bar in bars] == [True, False, None]
    assert bars[0].share(bars[0].plan) == pytest.approx(0.45)
    assert (bars[1].low, bars[1].high) == (10.0, 15.0)


def test_costs_are_drawn_as_shares_of_dense() -> None:
    figure = costs_vs_budgets_plot(costs_vs_budgets_info(samples.plan()))
    drawn = {trace.name: trace for trace in figure.data}
    assert list(drawn["plan"].x) == pytest.approx([45.0, 60.0, 40.0])
    assert list(drawn["budget"].x) == pytest.approx([50.0, 55.0])
    assert list(drawn["interval"].error_x.array) == pytest.approx([15.0])
    assert [note.text for note in figure.layout.annotations] == [
        "900 k of 2.00 M",
        "12.0 ms of 20.0 ms",
        "400 of 1.00 k",
    ]


def test_a_cost_of_zero_is_drawn() -> None:
    nothing = {"energy": samples.CostLine(dense=0.0, plan=0.0)}
    costs_vs_budgets_plot(costs_vs_budgets_info(samples.plan(costs=nothing)))


def test_front_carries_knee_plan_and_budget() -> None:
    info = frontier_info(samples.front(), samples.plan())
    assert [point.knee for point in info.points] == [False, False, True, False, False]
    assert info.plan == (0.9e6, 0.5)
    assert info.budget == 1e6
    drawn = {trace.name: trace for trace in frontier_plot(info).data}
    assert list(drawn["this plan"].x) == [0.9e6]
    assert list(drawn["knee"].y) == pytest.approx([0.4])


def test_a_plan_with_another_kind_of_loss_is_not_put_on_the_front() -> None:
    assert frontier_info(replace(samples.front(), sensitivity="uniform"), samples.plan()).plan is None
    assert frontier_info(replace(samples.front(), key="energy"), samples.plan()).plan is None
    assert "this plan" not in {trace.name for trace in frontier_plot(frontier_info(samples.front())).data}


def test_accuracies_keep_their_intervals_and_runs() -> None:
    info = accuracy_vs_cost_info(samples.report())
    assert [point.label for point in info.points] == ["dense", "plan"]  # the one without an accuracy is left out
    dense, plan = info.points
    assert (dense.low, dense.mean, dense.high) == (0.95, 0.95, 0.95)
    assert (plan.low, plan.high, plan.runs) == (0.85, 0.91, (0.86, 0.9))
    assert not info.measured
    figure = accuracy_vs_cost_plot(info)
    assert figure.layout.xaxis.type == "log"
    assert "predicted" in figure.layout.xaxis.title.text
    assert [trace.name for trace in figure.data] == ["dense", "dense", "plan", "plan"]


def test_a_cost_that_every_plan_measured_is_taken_from_the_measurements() -> None:
    report = {"summary": [item | {"measured": {"latency": 3.0}} for item in samples.report()["summary"]]}
    info = accuracy_vs_cost_info(report, cost="latency")
    assert info.measured
    assert {point.cost for point in info.points} == {3.0}


def test_receipts_pair_what_was_predicted_and_measured() -> None:
    (pair,) = predicted_vs_measured_info(samples.report()).pairs
    assert pair.label == "plan"
    assert pair.error == pytest.approx(-0.04)
    assert (pair.predicted_low, pair.measured_high) == (10.0, 13.0)
    figure = predicted_vs_measured_plot(predicted_vs_measured_info(samples.report()))
    assert list(figure.data[1].error_x.array) == pytest.approx([3.0])


def test_empty_reports_are_drawn() -> None:
    assert accuracy_vs_cost_plot(accuracy_vs_cost_info({})).data == ()
    assert (
        "nothing was measured" in predicted_vs_measured_plot(predicted_vs_measured_info({})).layout.annotations[0].text
    )
