"""Cost tables of the user's own: CSV, data frame, timing files; and everything that can be wrong in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from advisor.errors import AdvisorError, PlanError, ProfileError
from advisor.planning.table import CostTable
from advisor.planning.tables.files import open_table

GOOD = """layer,density,latency,watts,loss
a,1,4.0,3,0
a,0.5,2.5,2,0.1
b,0.25,1,1,0.7
b,1,6,5,0
"""


def written(folder: Path, text: str, name: str = "costs.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_csv_becomes_a_table(tmp_path: Path) -> None:
    table = CostTable.from_csv(written(tmp_path, GOOD))
    assert table.name == "costs"
    assert table.layers == ("a", "b")
    assert table.keys == ("latency", "watts")
    assert [[option.label for option in options] for options in table.options] == [
        ["dense d=1", "sparse d=0.5"],
        ["sparse d=0.25", "dense d=1"],
    ]
    assert table.dense == (0, 1)
    assert table.totals(table.dense) == {"latency": 10.0, "watts": 8.0}
    assert table.totals((1, 0)) == {"latency": 3.5, "watts": 3.0}
    assert table.objective((1, 0)) == pytest.approx(0.8)


def test_patterns_names_and_blanks(tmp_path: Path) -> None:
    text = "# by hand\n layer , pattern , density , macs , loss \n\nx, channel , 1 , 1e3 , 0\nx,block 4,0.5,500,0.25\n"
    table = CostTable.from_csv(written(tmp_path, text))
    # Nothing is called dense, so the one option of density 1 is it.
    assert [option.label for option in table.options[0]] == ["dense d=1", "block 4 d=0.5"]
    both = "layer,pattern,density,macs,loss\nx,dense,1,10,0\nx,folded,1,8,0.1\nx,channel,0.5,5,1\nx,block,0.5,5,2\n"
    table = CostTable.from_csv(written(tmp_path, both))
    assert table.dense == (0,)
    assert [option.pattern for option in table.options[0]] == ["dense", "folded", "channel", "block"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty, expected a header"),
        ("layer,density,loss,macs\n", "no rows below the header"),
        ("layer,latency,loss\na,1,0\n", "header, column density: it is missing"),
        ("layer,sparsity,latency,loss\na,0,1,0\n", "column density: it is missing, got layer, sparsity, latency, loss"),
        ("layer,sparsity,latency,loss\na,0,1,0\n", "density = 1 - sparsity"),
        ("layer,density,latency\na,1,1\n", "header, column loss: it is missing"),
        ("layer;density;loss;macs\na;1;0;4\n", "expected layer, density, loss and the costs; put commas between them"),
        ("layer,density,loss\na,1,0\n", "no column of a cost"),
        ("layer,density,loss,peak_memory\na,1,0,4\n", "a peak is no sum over layers"),
        ("layer,density,loss,,macs\na,1,0,,4\n", "a column without a name"),
        ("layer,density,loss,macs,macs\na,1,0,4,4\n", "row 1, column macs: the header names it twice"),
        (GOOD + "c,1,1\n", "row 6: got 3 cells, expected 5"),
        (
            GOOD.replace("2.5,2", "-2.5,2"),
            "row 3, column latency: got '-2.5', expected a finite number that is not neg",
        ),
        (GOOD.replace("2.5,2", "nan,2"), "row 3, column latency: got 'nan'"),
        (GOOD.replace("2.5,2", "inf,2"), "row 3, column latency: got 'inf'"),
        (GOOD.replace("2.5,2", ",2"), "row 3, column latency: got ''"),
        (GOOD.replace("2.5,2", "fast,2"), "row 3, column latency: got 'fast'"),
        (GOOD.replace("2.5,2", "1_0,2"), "row 3, column latency: got '1_0'"),
        (
            GOOD.replace("2.5,2", "2.5,two"),
            "row 3, column watts: got 'two', expected a finite number that is not negative, s",
        ),
        (GOOD.replace("0.7", "-0.7"), "row 4, column loss: got '-0.7'"),
        (GOOD.replace("0.7", "NaN"), "row 4, column loss: got 'NaN'"),
        (GOOD.replace("a,0.5", "a,0"), "row 3, column density: got '0', expected a density above 0, up to 1"),
        (GOOD.replace("a,0.5", "a,50%"), "row 3, column density: got '50%'"),
        (GOOD.replace("a,0.5", "a,1.5"), "row 3, column density: got '1.5'"),
        (GOOD.replace("a,0.5", ",0.5"), "row 3, column layer: got '', expected a name"),
        (GOOD + "a,0.50,1,1,1\n", "row 6: layer a has the option 'sparse d=0.5' again, expected each once (first in"),
        (GOOD.replace("b,1,", "b,0.9,"), "row 4: layer b has 2 options, none of density 1, expected one dense option"),
        (
            "layer,pattern,density,macs,loss\na,x,1,1,0\na,y,1,1,0\n",
            "row 3: layer a has 2 options, 2 of density 1 and none of pattern dense",
        ),
        ("layer,pattern,density,macs,loss\na,dense,0.5,1,0\n", "row 2, column density: got '0.5', expected 1, since"),
        ('layer,density,macs,loss\n"a,1,1,0\n', "no CSV"),
    ],
)
def test_a_wrong_csv_is_refused_with_its_row(text: str, says: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(PlanError) as error:
        CostTable.from_csv(path)
    assert says in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(AdvisorError, match="no such file"):
        CostTable.from_csv(tmp_path / "none.csv")
    with pytest.raises(AdvisorError, match="not a file"):
        CostTable.from_csv(tmp_path)
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(AdvisorError, match="not UTF-8"):
        CostTable.from_csv(tmp_path / "bytes.csv")


def test_a_data_frame_is_the_same_table(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    path = written(tmp_path, GOOD)
    table, other = CostTable.from_dataframe(pandas.read_csv(path), name="costs"), CostTable.from_csv(path)
    assert (table.name, table.layers, table.options) == (other.name, other.layers, other.options)
    assert table.totals((1, 0)) == other.totals((1, 0))
    missing = pandas.read_csv(path)
    missing.loc[2, "loss"] = np.nan
    with pytest.raises(PlanError, match=r"table row 2, column loss: got 'nan', expected a finite number"):
        CostTable.from_dataframe(missing)
    missing["layer"] = ["a", None, "b", "b"]
    with pytest.raises(PlanError, match=r"table row 1, column layer: got '\w*', expected a name"):
        CostTable.from_dataframe(missing)


class Frame(dict[str, list[Any]]):
    """Anything with columns does."""

    @property
    def columns(self) -> list[str]:
        return list(self)


def test_any_frame_with_columns_does() -> None:
    frame = Frame(layer=["a", "a"], density=[1, np.float32(0.5)], loss=[0, 1], macs=[np.int64(8), 4])
    assert CostTable.from_dataframe(frame).total("macs", (1,)) == 4.0
    with pytest.raises(PlanError, match="got 'True', expected a finite number"):
        CostTable.from_dataframe(Frame(layer=["a"], density=[1], loss=[0], macs=[True]))
    with pytest.raises(PlanError, match="got a list, expected a data frame"):
        CostTable.from_dataframe([1, 2])
    with pytest.raises(PlanError, match="no rows"):
        CostTable.from_dataframe(Frame(layer=[], density=[], loss=[], macs=[]))


SPDY = """base
0.0120
prunable
0.0100
conv
0.0060 0.0000
0.0040 0.5000
0.0010 0.9000
fc
0.0040 0.0000
0.0030 0.7500
"""


def test_a_timing_file_becomes_a_table_with_a_prior(tmp_path: Path) -> None:
    table = CostTable.from_spdy(written(tmp_path, SPDY, "net_4block.txt"))
    assert table.layers == ("conv", "fc")
    assert [option.label for option in table.options[0]] == ["dense d=1", "block d=0.5", "block d=0.1"]
    assert table.total("latency", table.dense) == pytest.approx(12.0)  # the layers' 10 ms and 2 ms beside them
    assert table.total("latency", (2, 1)) == pytest.approx(1 + 3 + 2)
    assert table.objective((1, 1)) == pytest.approx(-(np.log(0.5) + np.log(0.25)) / 2)
    assert any("losses are a prior (log" in note for note in table.notes)
    shares = CostTable.from_spdy(tmp_path / "net_4block.txt", prior="log-time", pattern="mine")
    assert shares.objective((1, 0)) == pytest.approx(-np.log(0.5) * 0.6)
    assert shares.options[1][1].pattern == "mine"
    ranks = CostTable.from_spdy(tmp_path / "net_4block.txt", prior="quadratic")
    assert [column.tolist() for column in ranks.loss] == [[0, 0.125, 0.5], [0, 0.5]]
    with pytest.raises(PlanError, match="unknown prior of losses 'linear'"):
        CostTable.from_spdy(tmp_path / "net_4block.txt", prior="linear")


LOSSES = "layer,sparsity,loss\nconv,0,0\nconv,0.5,1\nconv,0.9,3\nfc,0,0\nfc,0.75,2\n"


def test_losses_of_the_users_own(tmp_path: Path) -> None:
    path, losses = written(tmp_path, SPDY, "net.txt"), written(tmp_path, LOSSES, "loss.csv")
    table = CostTable.from_spdy(path, loss=losses)
    assert [column.tolist() for column in table.loss] == [[0, 1, 3], [0, 2]]
    assert table.notes[-1] == "losses of loss.csv"
    assert open_table(path, str(losses)).objective((2, 1)) == 5.0
    densities = "layer,density,loss\nconv,1,0\nconv,0.5,1\nconv,0.1,3\nfc,1,0\nfc,0.25,2\n"
    assert CostTable.from_spdy(path, loss=written(tmp_path, densities)).objective((2, 1)) == 5.0


@pytest.mark.parametrize(
    ("losses", "says"),
    [
        ("layer,loss\nconv,0\n", "header, column sparsity: it is missing"),
        (LOSSES.replace("fc,0.75", "fd,0.75"), "row 6, column layer: unknown layer 'fd'; did you mean 'fc'"),
        (LOSSES.replace("fc,0.75", "fc,0.7"), "row 6, column sparsity: got '0.7', expected an option of layer fc"),
        (LOSSES + "fc,0.75,1\n", "row 7, column sparsity: got '0.75', expected each option once"),
        (LOSSES.replace("fc,0.75,2\n", ""), "no loss for layer fc, unstructured d=0.25"),
        (LOSSES.replace("0.75,2", "0.75,-2"), "row 6, column loss: got '-2'"),
    ],
)
def test_wrong_losses_are_refused_with_their_row(losses: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(PlanError) as error:
        CostTable.from_spdy(written(tmp_path, SPDY, "net.txt"), loss=written(tmp_path, losses, "loss.csv"))
    assert says in str(error.value)


def test_the_text_tells_what_a_file_is(tmp_path: Path) -> None:
    timings, costs = written(tmp_path, SPDY, "net.txt"), written(tmp_path, GOOD)
    assert open_table(timings).layers == ("conv", "fc")
    assert open_table(timings, "quadratic").objective((2, 1)) == 1.0
    assert open_table(costs).layers == ("a", "b")
    with pytest.raises(
        PlanError, match="linear: no such file, and no prior of losses; known: log, log-time, quadratic"
    ):
        open_table(timings, "linear")
    with pytest.raises(PlanError, match="a CSV has its losses in the column loss"):
        open_table(costs, "log")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (SPDY.replace("0.5000", "0.0000"), "row 7: layer conv has sparsity 0 again"),
        (SPDY.replace("0.0040 0.0000", "0.0040 0.1000"), "row 9: layer fc has no time at sparsity 0"),
        (SPDY.replace("0.0040 0.5000", "-0.0040 0.5000"), "row 7, column seconds"),
    ],
)
def test_a_wrong_timing_file_is_refused_with_its_row(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises((PlanError, ProfileError)) as error:
        CostTable.from_spdy(written(tmp_path, text, "net.txt"))
    assert says in str(error.value)
