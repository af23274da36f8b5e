"""Leaving the grid of densities: against the closed form, and against every density that can be kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import advisor
from advisor.errors import BudgetError
from advisor.network import Network
from advisor.patterns.base import pattern
from advisor.patterns.option import DENSE, Option
from advisor.planning.allocation import fill
from advisor.planning.continuous import descend as descend_module
from advisor.planning.continuous.curves import curves_of
from advisor.planning.continuous.descend import descend
from advisor.planning.continuous.legal import legal_near, may_vary
from advisor.planning.problem import decide, pose
from advisor.planning.sensitivity import SENSITIVITIES
from advisor.planning.solving.solve import solve
from advisor.planning.table import CostTable
from advisor.plans.plan import load_plan
from tests.planning.tables import plain_tables

GRID = (1.0, 0.75, 0.5, 0.25, 0.125, 0.03125)


def logarithmic(weights: np.ndarray, scores: np.ndarray) -> CostTable:
    """Layers that lose -s ln d and cost n d."""
    options = (DENSE, *(Option(pattern="channel", density=d) for d in GRID[1:]))
    return CostTable(
        layers=tuple(f"layer{i}" for i in range(len(weights))),
        options=(options,) * len(weights),
        costs={"params": tuple(n * np.array(GRID) for n in weights)},
        loss=tuple(-s * np.log(GRID) for s in scores),
    )


class Anywhere:
    def may_vary(self, layer: int, option: Option) -> bool:
        return True

    def share(self, layer: int, option: Option) -> float:
        return option.density


def all_kept(table: CostTable) -> list[np.ndarray]:
    return [np.arange(len(options)) for options in table.options]


@pytest.mark.parametrize("most", [250, 1])
def test_relaxed_densities_are_those_of_the_closed_form(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descend_module, "_DENSE_ALGEBRA", most)  # either method
    rng = np.random.default_rng(0)
    weights, scores = rng.uniform(1, 40, 12), rng.uniform(1, 9, 12)
    table = logarithmic(weights, scores)
    limits = {"params": 0.4 * weights.sum()}
    choice = solve(table, limits).choice
    curves = curves_of(table, choice, limits, kept=all_kept(table), varying=Anywhere())
    found = descend(table, choice, curves, limits, Anywhere())
    best = fill(scores, weights, 0.4)
    assert best.min() > GRID[-1]
    assert found.objective == pytest.approx(float(-(scores * np.log(best)).sum()), rel=1e-4)
    assert found.densities == pytest.approx(best.tolist(), abs=0.02)
    assert found.objective < table.objective(choice)
    assert found.steps > 0


@settings(max_examples=30, deadline=None)
@given(table=plain_tables(), part=st.floats(0.3, 1.0))
def test_a_table_off_its_grid_is_never_worse_and_never_over(table: CostTable, part: float) -> None:
    budgets = {"params": f"{100 * part}%", "weight_memory": "90%"}
    try:
        grid = advisor.plan(table, budgets=budgets, gap=0.0)
    except BudgetError:
        with pytest.raises(BudgetError):
            advisor.plan(table, budgets=budgets, gap=0.0, continuous=True)
        return
    plan = advisor.plan(table, budgets=budgets, gap=0.0, continuous=True)
    assert plan.continuous is not None
    assert plan.objective <= grid.objective * (1 + 1e-9)
    assert plan.bound <= plan.objective
    assert plan.continuous.objective == plan.objective
    assert plan.continuous.objective_grid == pytest.approx(grid.objective)
    for line in plan.costs.values():
        assert line.budget is None or line.plan <= line.budget
    if not plan.continuous.gain:
        assert "no density off the grid lowers the loss" in " ".join(plan.notes)
        grids = [{o.density for o in options} for options in table.options]
        assert all(layer.density in densities for layer, densities in zip(plan.layers, grids, strict=True))


def test_a_table_gains_between_its_densities_and_says_that_it_guesses(tmp_path: Path) -> None:
    table = logarithmic(np.array([30.0, 20.0, 10.0]), np.array([1.0, 2.0, 4.0]))
    plan = advisor.plan(table, budgets={"params": "40%"}, continuous=True)
    assert plan.continuous is not None
    assert plan.continuous.gain > 0.01
    best = fill([1, 2, 4], [30, 20, 10], 0.4)
    assert plan.objective == pytest.approx(float(-([1, 2, 4] * np.log(best)).sum()), rel=0.01)
    assert "costs and losses between the table's densities are interpolated: measure the plan" in plan.notes
    plan.save(tmp_path / "plan.json")
    assert load_plan(tmp_path / "plan.json") == plan


def test_times_are_not_interpolated_between_dense_and_thinned() -> None:
    # Dense takes 6, the least thinned 10: what 0.9 takes nobody knows.
    table = CostTable(
        layers=("a", "b"),
        options=((DENSE, *(Option(pattern="sparse", density=d) for d in (0.6, 0.3, 0.1))),) * 2,
        costs={"latency": ([6, 10, 4, 1], [6, 10, 4, 1])},
        loss=([0, 1, 2, 3.5], [0, 1, 2, 3.5]),
    )
    plan = advisor.plan(table, budgets={"latency": 9.5}, continuous=True)
    assert sorted(layer.density == 1 for layer in plan.layers) == [False, True]
    assert all(layer.density == 1 or layer.density <= 0.6 for layer in plan.layers)
    assert plan.continuous is not None
    assert plan.continuous.gain > 0


class Narrow(nn.Module):
    """Layers of few inputs, so that every density that can be kept can be tried."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3)
        self.a = nn.Conv2d(12, 20, 3)
        self.b = nn.Conv2d(20, 16, 1)
        self.c = nn.Conv2d(16, 24, 3)
        self.head = nn.Linear(24, 5)

    def forward(self, x):  # type: ignore[no-untyped-def]
        return self.head(self.c(self.b(self.a(self.stem(x)))).mean((2, 3)))


@pytest.fixture(scope="module")
def narrow() -> Network:
    return advisor.analyze(Narrow(), (1, 3, 16, 16), name="narrow")


@pytest.mark.parametrize("name", ["channel", "group", "block", "unstructured"])
@pytest.mark.parametrize("density", [0.001, 0.2, 0.517, 0.99])
def test_what_is_offered_can_be_kept_and_lies_next_to_what_was_wished(
    narrow: Network, name: str, density: float
) -> None:
    layer = narrow.sparsifiable[1]
    option = pattern(name).options(layer, (0.5,))[0]
    assert may_vary(layer, option)
    every = sorted(
        {
            pattern(name).kept_weights(layer, replace(option, density=d))
            for d in np.arange(1, layer.weights + 1) / layer.weights
        }
    )
    middle = every.index(pattern(name).kept_weights(layer, replace(option, density=density)))
    expected = [count for count in every[max(middle - 2, 0) : middle + 3] if count < layer.weights]
    near = legal_near(layer, option, density)
    assert [pattern(name).kept_weights(layer, found) for found in near] == expected
    assert all(not pattern(name).problem(layer, found) for found in near)


def test_width_and_n_of_m_have_no_densities_of_their_own(narrow: Network) -> None:
    layer = narrow.sparsifiable[1]
    assert not may_vary(layer, DENSE)
    assert not may_vary(layer, Option(pattern="n:m", density=0.5, parameters={"n": 2, "m": 4}))
    assert not may_vary(layer, Option(pattern="width", density=0.5, parameters={"in": 1.0, "out": 0.5}))


@pytest.mark.parametrize("key", ["params", "macs"])
def test_a_network_off_the_grid_is_near_the_best_of_all_that_can_be_kept(narrow: Network, key: str) -> None:
    budgets = {key: "45%"}
    grid = advisor.plan(narrow, budgets=budgets, patterns=["channel"], gap=0.0)
    plan = advisor.plan(narrow, budgets=budgets, patterns=["channel"], gap=0.0, continuous=True)
    problem = pose(narrow, budgets=budgets, patterns=["channel"], gap=0.0)
    best = decide(_with_every_density(problem, narrow))
    assert best.objective * (1 - 1e-9) <= plan.objective < grid.objective
    assert plan.objective <= best.objective + 0.2 * (grid.objective - best.objective)
    assert plan.continuous is not None
    assert plan.continuous.gain == pytest.approx(1 - plan.objective / grid.objective)
    assert plan.costs[key].plan <= plan.costs[key].budget  # type: ignore[operator]
    gone = {name: int((~mask).sum()) for name, mask in plan.masks().items()}
    assert plan.costs["params"].plan == narrow.params - sum(gone.values())


def _with_every_density(problem, network: Network):  # type: ignore[no-untyped-def]
    """The problem with all densities k / inputs of the channel pattern."""
    from advisor.planning.build import build_table
    from advisor.planning.constraints.offered import with_options

    more = {
        layer.name: pattern("channel").options(layer, [k / layer.in_channels for k in range(1, layer.in_channels)])
        for layer in network.sparsifiable[1:-1]
    }
    return replace(problem, built=build_table(network, with_options(problem.built.menu, more)))


def test_a_grid_without_gaps_is_kept(narrow: Network) -> None:
    problem = _with_every_density(pose(narrow, budgets={"macs": "45%"}, patterns=["channel"], gap=0.0), narrow)
    plan, grid = decide(problem, continuous=True), decide(problem)
    assert plan.continuous is not None
    assert plan.continuous.gain == 0.0
    assert plan.objective == grid.objective
    assert "no density off the grid lowers the loss: this is the grid's plan" in plan.notes


def test_constraints_hold_off_the_grid(narrow: Network) -> None:
    plan = advisor.plan(
        narrow,
        budgets={"macs": "60%"},
        patterns=["channel"],
        continuous=True,
        pins={"a": "channel@0.5"},
        max_density={"b": 0.45},
        min_density=0.3,
    )
    assert plan.layer("a").density == 0.5
    assert 0.3 <= plan.layer("b").density <= 0.45
    assert all(layer.density >= 0.3 for layer in plan.layers)


def test_layers_that_width_narrows_stay_on_their_levels(residual: Network) -> None:
    plan = advisor.plan(residual, budgets={"params": "40%"}, patterns=["width"], continuous=True)
    narrowed = sum(layer.pattern == "width" for layer in plan.layers)
    assert plan.continuous is not None
    assert plan.continuous.gain == 0.0
    assert f"{narrowed} layers stay on the grid, as width and n:m have no densities of their own" in plan.notes


def test_losses_that_take_runs_lie_on_the_curve(narrow: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = advisor.plan(narrow, budgets={"macs": "45%"}, patterns=["channel"], continuous=True)
    costly = replace(SENSITIVITIES["erk"], needs="data")
    monkeypatch.setattr("advisor.planning.continuous.offers.sensitivity_named", lambda name: costly)
    plan = advisor.plan(narrow, budgets={"macs": "45%"}, patterns=["channel"], continuous=True)
    # ERK's losses are straight lines over the log of what is kept, so the curves have them as they are.
    assert plan.objective == pytest.approx(exact.objective, rel=1e-6)
    assert plan.continuous is not None
    assert plan.continuous.gain > 0
    assert any(note.startswith("losses off the grid lie between those of the grid") for note in plan.notes)
