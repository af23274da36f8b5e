"""The figure of a front of two costs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from advisor.errors import AdvisorError
from advisor.figures import frontier_map_info, frontier_map_plot
from advisor.planning.frontier import Frontier, FrontierPoint
from tests.figures import samples


def front() -> Frontier:
    points = tuple(
        FrontierPoint(
            cost=2e6 - 3e5 * i,
            loss=0.1 * i * i,
            gap=1e-4,
            knee=i == 2,
            options={},
            costs={"macs": 2e6 - 3e5 * i, "params": 1e3 - 100.0 * ((7 * i) % 5)},
        )
        for i in range(5)
    )
    return Frontier(
        model="block",
        key="macs",
        keys=("macs", "params"),
        unit="",
        dense=2e6,
        dense_costs={"macs": 2e6, "params": 1e3},
        points=points,
        sensitivity="erk",
    )


def test_it_carries_both_costs_knee_plan_and_budgets() -> None:
    info = frontier_map_info(front(), samples.plan())
    assert info.keys == ("macs", "params")
    assert [point.costs[1] for point in info.points] == [1000.0, 800.0, 600.0, 900.0, 700.0]
    assert info.plan == (0.9e6, 400.0, 0.5)
    assert info.budgets == (1e6, None)
    figure = frontier_map_plot(info)
    drawn = {trace.name: trace for trace in figure.data}
    assert list(drawn["front"].marker.color) == pytest.approx([0.0, 0.1, 0.4, 0.9, 1.6])
    assert (list(drawn["knee"].x), list(drawn["knee"].y)) == ([1.4e6], [600.0])
    assert list(drawn["this plan"].y) == [400.0]
    assert [shape.x0 for shape in figure.layout.shapes] == [1e6]
    assert "dense 2.00 M" in figure.layout.xaxis.title.text


def test_a_plan_with_another_kind_of_loss_is_left_out() -> None:
    info = frontier_map_info(replace(front(), sensitivity="uniform"), samples.plan())
    assert (info.plan, info.budgets) == (None, (None, None))
    assert "this plan" not in {trace.name for trace in frontier_map_plot(info).data}


def test_a_front_of_one_cost_has_no_map() -> None:
    with pytest.raises(AdvisorError, match="a front of macs alone has no map"):
        frontier_map_info(samples.front())
