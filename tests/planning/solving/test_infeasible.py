"""A budget out of reach: what is reachable, and why."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from advisor.errors import BudgetError
from advisor.planning.solving.infeasible import Least, explain, smallest
from advisor.planning.solving.solve import solve
from advisor.planning.table import CostTable
from tests.planning.tables import table_of, tied_tables


def test_names_the_smallest_reachable_and_the_layer_that_limits() -> None:
    table = table_of({"latency": [[4, 2.5], [3, 1.3]]}, [[0, 1], [0, 1]])
    with pytest.raises(BudgetError) as error:
        solve(table, {"latency": 3.1}, hint="allow the pattern 'width'")
    assert str(error.value) == (
        "budget latency=3.100 ms is below the smallest reachable 3.800 ms (layer0 limits it most: with channel d=0.5, "
        "its cheapest option, it takes 2.500 ms); raise it or allow the pattern 'width'"
    )


def test_a_solver_stopped_early_claims_no_smallest(monkeypatch: pytest.MonkeyPatch) -> None:
    table = table_of({"latency": [[4, 2.5], [3, 1.3]]}, [[0, 1], [0, 1]])
    found = Least(3.8, np.array([1, 1]), proven=False)
    monkeypatch.setattr("advisor.planning.solving.infeasible.smallest", lambda *_, **__: found)
    assert "is below the smallest found in time 3.800 ms" in explain(table, {"latency": 3.1})


def test_the_reachable_value_as_printed_can_be_met() -> None:
    table = table_of({"params": [[10_000_000, 1_234_567]]}, [[0, 1]])
    text = explain(table, {"params": 5.0})
    assert "1.235 M" in text  # rounded up
    assert solve(table, {"params": 1.235e6}).objective == 1.0


def test_a_layer_without_other_options_and_a_constant_are_named() -> None:
    table = table_of({"macs": [[9], [3, 1]]}, [[0], [0, 1]])
    assert "layer0 limits it most: which has no other option, it takes 9.000" in explain(table, {"macs": 5.0})
    heavy = CostTable(
        layers=table.layers, options=table.options, costs=table.costs, loss=table.loss, constants={"macs": 50.0}
    )
    assert "what no layer's option changes takes 50.00 of it" in explain(heavy, {"macs": 5.0})


def test_a_conflict_of_two_says_what_each_can_reach_given_the_other() -> None:
    table = table_of({"params": [[9, 1, 5]], "latency": [[9, 8, 2]]}, [[0, 1, 1]])
    text = explain(table, {"params": 3.0, "latency": 4.0})
    assert "budgets params=3.000 and latency=4.000 ms exclude each other" in text
    assert "with latency=4.000 ms the smallest reachable params is 5.000" in text
    assert "with params=3.000 the smallest reachable latency is 8.000 ms" in text


def test_a_conflict_of_three() -> None:
    # Each option breaks exactly one limit, and any two limits can be kept.
    table = table_of({"params": [[9, 0, 0]], "macs": [[0, 9, 0]], "latency": [[0, 0, 9]]}, [[0, 0, 0]])
    text = explain(table, {"params": 1.0, "macs": 1.0, "latency": 1.0})
    assert "cannot be met together, though any two of them can" in text
    assert "given the others, the smallest reachable are params 9.000, macs 9.000, latency 9.000 ms" in text


@settings(max_examples=40, deadline=None)
@given(table=tied_tables())
def test_smallest_equals_trying_everything(table: CostTable) -> None:
    from itertools import product

    choices = [c for c in product(*(range(len(o)) for o in table.options)) if table.agrees(c)]
    for key in table.keys:
        found = smallest(table, key)
        assert found is not None
        assert found.proven
        assert found.value == pytest.approx(min(table.total(key, c) for c in choices))
