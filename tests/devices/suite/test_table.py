import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from advisor.devices.profile import load_profile
from advisor.devices.suite.records import key_of, piece_problem, tables_of
from advisor.devices.suite.table import step_times, table_document, table_from
from advisor.errors import ProfileError
from tests.devices.formula import device_profile, record_of, records, tables


def document() -> Any:
    return json.loads(json.dumps(table_document(tables()[0])))


def test_a_table_comes_back_as_it_was() -> None:
    (table,) = tables()
    found = table_from(document(), "x")
    assert (found.threads, found.training, found.between) == (table.threads, table.training, table.between)
    assert found.intervals == table.intervals
    assert found.error == table.error
    for one, two in zip(found.pieces, table.pieces, strict=True):
        assert (one.number, one.variant, one.steps, one.counts) == (two.number, two.variant, two.steps, two.counts)
        assert one.ms == pytest.approx(two.ms, rel=1e-3)
        assert one.whole_ms == pytest.approx(two.whole_ms, rel=1e-3)
        assert one.kernels_ms == pytest.approx(two.kernels_ms, rel=1e-3)
    assert table_document(found) == document()
    assert table.text == "1 thread, inference"


def test_a_device_profile_comes_back_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    device_profile().save(path)
    found = load_profile(path)
    assert [table_document(t) for t in found.tables] == [document()]
    assert found.settings == device_profile().settings
    assert found.methods == {"dense", "direct"}
    assert found.at(batch=8, threads=1).settings != found.settings
    assert found.at() is found
    with pytest.raises(ProfileError, match=r"holds 1 thread, inference; asked for 3 threads, inference: .*--suite\)$"):
        found.at(threads=3)
    with pytest.raises(ProfileError, match=r"asked for 1 thread, training"):
        found.at(training=True)


BAD: list[tuple[tuple[Any, ...], Any]] = [
    (("pieces",), []),
    (("pieces", 0, "order", 0), -1),
    (("pieces", 0, "order", 0), 10**6),
    (("pieces", 0, "order", 0), True),
    (("pieces", 0, "order", 0), "0"),
    (("pieces", 0, "ms", 0), -0.5),
    (("pieces", 0, "ms", 0), "1"),
    (("pieces", 0, "ms", 0), None),
    (("pieces", 0, "ms", 0), [1]),
    (("pieces", 0, "ms"), [1.0]),
    (("pieces", 0, "order"), []),
    (("pieces", 0, "whole_ms"), 0),
    (("steps", 0), []),
    (("steps", 0), None),
    (("steps", 0, 2), [[-3]]),
    (("steps", 0, 10), {"kind": "conv2d", "method": "dense"}),
    (("steps", 0, 10), 7),
    (("between",), {}),
    (("between", "share"), -1),
    (("between", "extra"), 1),
    (("between", "below"), 5.0),
    (("intervals", "dense"), [1.0, -1.0]),
    (("intervals", "dense"), [-1e6, 1e6]),
    (("threads",), 0),
]


@pytest.mark.parametrize(("place", "value"), BAD, ids=[f"{p[-1]}={str(v)[:20]}" for p, v in BAD])
def test_what_makes_no_sense_is_refused_in_one_line(place: tuple[Any, ...], value: Any, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    device_profile().save(path)
    bad = json.loads(path.read_text())
    at = bad["tables"][0]
    for name in place[:-1]:
        at = at[name]
    at[place[-1]] = value
    path.write_text(json.dumps(bad))
    with pytest.raises(ProfileError) as caught:
        load_profile(path)
    assert "\n" not in str(caught.value)
    assert "bad.json" in str(caught.value)


def test_a_step_counts_once_in_a_piece_by_its_mean() -> None:
    (table,) = tables()
    times = step_times(table.pieces)
    for piece in table.pieces:
        mine = {s: ms for s, ms, n in zip(times.steps, times.ms, times.pieces, strict=True) if n == piece.number}
        for step in piece.steps:
            assert step in mine
    assert len(times.steps) == sum(len(set(piece.steps)) for piece in table.pieces)


def test_one_table_for_each_setting_and_none_for_too_few_pieces() -> None:
    found = tables_of([*records(6), *records(5, threads=2), *records(2, threads=4), *records(5, training=True)])
    assert [(t.threads, t.training, len(t.pieces)) for t in found] == [(1, False, 12), (2, False, 10), (1, True, 10)]
    assert tables_of(records(4)) == ()


def test_drift_is_divided_out() -> None:
    """The same pieces on a machine that is slower at times, as its reference layer was."""
    even, drifting = records(12), copy.deepcopy(records(12))
    for index, record in enumerate(drifting):
        if index % 3 == 0:
            record["reference_ms"] *= 1.5
            record["whole_ms"] *= 1.5
            record["ms"] = [1.5 * ms for ms in record["ms"]]
    one, two = (tables_of(lines)[0] for lines in (even, drifting))
    assert two.pace.slope == pytest.approx(1.0, abs=0.2), "the slope is drawn from the pieces themselves"
    assert [p.whole_ms for p in two.pieces] == pytest.approx([p.whole_ms for p in one.pieces], rel=0.08)
    assert two.error["noisy_pieces"] == 8


def test_what_lies_between_is_found_and_wholes_of_the_suite_are_met() -> None:
    (table,) = tables()
    assert table.between.share < 0.1
    assert table.error["pieces"] == len(table.pieces)
    assert 0 < float(table.error["whole_median_percent"]) < 10
    assert set(table.intervals) == {"dense", "operator", "sparse"}
    assert all(low < 0 < high for low, high in table.intervals.values())
    assert np.isfinite([piece.whole_ms for piece in table.pieces]).all()


def test_failed_pieces_are_left_out() -> None:
    failed = {"key": key_of(9, "dense", 1, False), "failed": "no memory", "seconds": 1.0}
    assert piece_problem(failed) == ""
    assert len(tables_of([*records(6), failed])[0].pieces) == 12


@pytest.mark.parametrize(
    ("name", "value"),
    [("key", "piece:x:dense:1:inference"), ("key", "piece:1"), ("seconds", 0), ("whole_ms", "1"), ("whole_ms", True),
     ("reference_ms", -1), ("steps", []), ("steps", None), ("ms", []), ("ms", [1]), ("module_calls", "x"),
     ("module_calls", -1), ("together", "xy"), ("together", [1.0]), ("reference_spread", None), ("waited", -1)],
)  # fmt: skip
def test_what_is_no_line_of_the_journal(name: str, value: Any) -> None:
    good = json.loads(json.dumps(record_of(1, "dense")))
    assert piece_problem(good) == ""
    problem = piece_problem(good | {name: value})
    assert problem
    assert "\n" not in problem


def test_keys_of_records_name_their_setting() -> None:
    assert key_of(3, "sparse", 2, True) == "piece:3:sparse:2:training"
