"""A cost table from arrays alone."""

from __future__ import annotations

import numpy as np
import pytest

from advisor.errors import PlanError
from advisor.patterns.option import DENSE, Option
from advisor.planning.table import CostTable, LevelGroup, Peaks
from tests.planning.tables import table_of

HALF = Option(pattern="channel", density=0.5)
NARROW = Option(pattern="width", density=0.5, parameters={"in": 1.0, "out": 0.5})

AT_FULL = (((0, 0),), ((0, 0),))


def tied(**changes: object) -> CostTable:
    fields: dict[str, object] = {
        "layers": ("a", "b"),
        "options": ((DENSE, NARROW), (DENSE, NARROW)),
        "costs": {"weight_memory": ([8, 4], [6, 3])},
        "loss": ([0, 1], [0, 2]),
        "constants": {"weight_memory": 10.0},
        "groups": (
            LevelGroup(
                name="a", levels=(1.0, 0.5), costs={"weight_memory": np.array([2.0, 1.0])}, loss=np.array([0.0, 5.0])
            ),
        ),
        "requires": ((((0, 0),), ((0, 1),)), (((0, 0),), ((0, 1),))),
        "peaks": Peaks(base=np.array([1.0, 4.0]), levels=(np.array([[8.0, 2.0], [3.0, 2.0]]),)),
    }
    return CostTable(**{**fields, **changes})  # type: ignore[arg-type]


def test_totals() -> None:
    table = tied()
    assert table.totals((0, 0)) == {"weight_memory": 26.0, "peak_memory": 26.0 + 9.0}
    assert table.totals((1, 1)) == {"weight_memory": 18.0, "peak_memory": 18.0 + 6.0}
    assert (table.objective((0, 0)), table.objective((1, 1))) == (0.0, 8.0)
    assert table.dense == (0, 0)


def test_options_that_disagree_about_a_group() -> None:
    table = tied()
    assert not table.agrees((0, 1))
    with pytest.raises(PlanError, match="layer b: its option wants another level of width group 'a'"):
        table.total("peak_memory", (0, 1))


def test_totals_are_exact() -> None:
    table = table_of({"macs": [[2**52], [1], [0.1], [0.2]]}, [[0]] * 4)
    assert table.total("macs", (0, 0, 0, 0)) == 2**52 + 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"layers": ()}, "no layers"),
        ({"layers": ("a",)}, "options has 2 entries"),
        ({"layers": ("a", "a")}, "appears twice"),
        (
            {"options": ((DENSE, DENSE), (DENSE, NARROW)), "requires": (AT_FULL, AT_FULL)},
            "layer a: option 'dense d=1' appears twice",
        ),
        ({"options": ((HALF, NARROW), (DENSE, NARROW))}, "layer a: no dense option"),
        ({"costs": {"params": ([1, -2], [1, 2])}}, "layer a, option 'width d=0.5 in=1.0 out=0.5': params=-2.0"),
        ({"costs": {"params": ([1, 2], [float("nan"), 2])}}, "layer b, option 'dense d=1': params=nan"),
        ({"costs": {"params": ([1, 2],)}}, "params has 1 columns"),
        ({"costs": {"params": ([1, 2, 3], [1, 2])}}, "params has shape (3,), expected (2,)"),
        ({"loss": ([0, 1], [0, float("inf")])}, "loss=inf"),
        ({"requires": ((((0, 0),), ()), (((0, 0),), ((0, 1),)))}, "follows other width groups"),
        ({"requires": ((((0, 0),), ((0, 9),)), (((0, 0),), ((0, 1),)))}, "no such width group or level"),
        ({"requires": ()}, "no layer follows width group 'a'"),
        (
            {"groups": (LevelGroup(name="a", levels=(1.0, 0.5), costs={"params": np.array([1.0])}),)},
            "params must hold 2",
        ),
    ],
)
def test_wrong_tables_are_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(PlanError) as error:
        tied(**changes)
    assert says in str(error.value)
