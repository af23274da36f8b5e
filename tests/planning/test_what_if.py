"""Totals of many plans at once against the totals of one."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.errors import PlanError
from advisor.planning.table import CostTable
from tests.planning.tables import plain_tables, table_of, tied_tables


def all_choices(table: CostTable) -> np.ndarray:
    return np.array(list(product(*(range(len(options)) for options in table.options))))


@settings(max_examples=60, deadline=None)
@given(table=st.one_of(plain_tables(), tied_tables()))
def test_many_plans_cost_what_each_costs(table: CostTable) -> None:
    choices = all_choices(table)
    totals, objectives, agree = table.totals_of(choices), table.objectives_of(choices), table.agree(choices)
    assert set(totals) == set(table.keys)
    for row, choice in enumerate(choices):
        assert agree[row] == table.agrees(choice)
        if agree[row]:
            assert {key: values[row] for key, values in totals.items()} == table.totals(choice)
            assert objectives[row] == table.objective(choice)
        else:
            assert np.isnan(objectives[row])
            assert all(np.isnan(values[row]) for values in totals.values())


def test_sums_of_fractions_are_close() -> None:
    rng = np.random.default_rng(0)
    table = table_of({"latency": rng.uniform(0, 1, (200, 5)).tolist()}, rng.uniform(0, 1, (200, 5)).tolist())
    choices = rng.integers(0, 5, (50, 200))
    exact = [table.total("latency", choice) for choice in choices]
    assert table.totals_of(choices)["latency"] == pytest.approx(exact, rel=1e-14)
    assert table.objectives_of(choices) == pytest.approx([table.objective(c) for c in choices], rel=1e-14)


def test_more_plans_than_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("advisor.planning.what_if._CELLS", 8)
    table = table_of({"params": [[5, 1], [7, 2], [9, 3]]}, [[0, 1], [0, 2], [0, 4]])
    choices = all_choices(table)
    assert table.totals_of(choices)["params"].tolist() == [table.total("params", c) for c in choices]
    assert table.objectives_of(choices).tolist() == [0, 4, 2, 6, 1, 5, 3, 7]


def test_one_plan_and_plans_in_any_shape() -> None:
    table = table_of({"params": [[5, 1], [7, 2]]}, [[0, 1], [0, 2]])
    assert table.totals_of((1, 0))["params"].shape == ()
    assert float(table.totals_of((1, 0))["params"]) == 8.0
    assert table.objectives_of(np.zeros((3, 4, 2), int)).shape == (3, 4)
    assert table.totals_of(np.zeros((0, 2), int))["params"].shape == (0,)


@pytest.mark.parametrize(
    ("choices", "says"),
    [
        ([[0.5, 1.0]], "expected whole numbers of shape (…, 2)"),
        ([0, 1, 1], "choices of shape (3,)"),
        (3, "choices of shape ()"),
        ([[True, False]], "type bool"),
        ([[0, 1], [0, 2]], "choices, row 1, layer layer1: got option 2, expected 0 to 1"),
        ([[-1, 0]], "row 0, layer layer0: got option -1"),
    ],
)
def test_what_is_no_choice_is_refused(choices: object, says: str) -> None:
    table = table_of({"params": [[5, 1], [7, 2]]}, [[0, 1], [0, 2]])
    with pytest.raises(PlanError) as error:
        table.totals_of(choices)  # type: ignore[arg-type]
    assert says in str(error.value)


def test_a_subset_costs_what_its_options_cost() -> None:
    table = table_of({"params": [[5, 1, 3], [7, 2, 4]]}, [[0, 1, 2], [0, 2, 5]])
    small = table.subset([[2, 0], [1]])
    assert [len(options) for options in small.options] == [2, 1]
    assert small.dense == (1, 0)
    assert small.total("params", (0, 0)) == table.total("params", (2, 1))
    assert small.objective((1, 0)) == table.objective((0, 1))
