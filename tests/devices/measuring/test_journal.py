import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from advisor.devices.document import execution_document
from advisor.devices.measuring import journal as journals
from advisor.devices.measuring.journal import Header, Journal, record_problem
from advisor.errors import ProfileError
from advisor.files import take_lock
from advisor.runtime.execution import Execution

HEADER = Header(network="net", network_hash="0" * 16, settings={"threads": 1}, machine={"name": "M"}, reference="r")
LINEAR = Execution(kind="linear", method="dense", input_shape=(1, 8), weight_shape=(4, 8))


def record(**changed: Any) -> dict[str, Any]:
    times = {"median_ms": 1.0, "low_ms": 0.9, "high_ms": 1.1, "repeats": 8, "reference_ms": 2.0, "seconds": 0.1}
    return {"key": LINEAR.key, "execution": execution_document(LINEAR), **times} | changed


WHOLE = {k: v for k, v in record(key="whole:start", eager_ms=1.2).items() if k != "execution"}


def test_goes_on_from_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with Journal(path, HEADER) as journal:
        journal.append(WHOLE)
        journal.append(record())
    with Journal(path, HEADER) as journal:
        assert [item["key"] for item in journal.records] == ["whole:start", LINEAR.key]
        journal.remove()
    assert not path.exists()


@pytest.mark.parametrize("cut", [1, 10, 60])
def test_a_line_cut_short_is_dropped_and_written_anew(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "j"
    with Journal(path, HEADER) as journal:
        journal.append(WHOLE)
        journal.append(record())
    path.write_bytes(path.read_bytes()[:-cut])
    with Journal(path, HEADER) as journal:
        assert [item["key"] for item in journal.records] == ["whole:start"]
        journal.append(record())
    with Journal(path, HEADER) as journal:
        assert len(journal.records) == 2


def test_a_header_cut_short_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with Journal(path, HEADER):
        pass
    path.write_bytes(path.read_bytes()[:30])
    with Journal(path, HEADER) as journal:
        assert journal.records == []
        journal.append(WHOLE)
    with Journal(path, HEADER) as journal:
        assert len(journal.records) == 1


def test_another_runs_journal_is_named(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with Journal(path, HEADER):
        pass
    other = Header(network="net", network_hash="0" * 16, settings={"threads": 2}, machine={"name": "M"}, reference="r")
    with pytest.raises(ProfileError, match=r"settings threads=1, this one has settings threads=2"):
        Journal(path, other)


@pytest.mark.parametrize(
    "text",
    [b"hello\n", b"[1]\n", b"{}\n", b'{"schema": "other"}\n', b"\x00\xff\n", b'{"a": NaN}\n'],
)
def test_a_foreign_file_is_refused_and_left_alone(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "j"
    path.write_bytes(text)
    with pytest.raises(ProfileError) as caught:
        Journal(path, HEADER)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == text


FOUND = {"layer": "a", "execution": execution_document(LINEAR), "median_ms": 1.0, "low_ms": 0.9, "high_ms": 1.1}
PASS = {k: v for k, v in record(key="pass:0", sum_ms=0.9, found=[FOUND]).items() if k != "execution"}
FAILED_PASS = {"key": "pass:1", "failed": "no memory", "seconds": 1.0, "tried": [LINEAR.key]}
HOSTILE: list[dict[str, Any]] = [
    {"key": 3},
    record(key="other"),
    record(reference_ms=0),
    record(median_ms="1"),
    record(repeats=True),
    record(seconds=None),
    record(waited=1.5),
    record(waited="much"),
    record(execution=None),
    record(execution={"kind": "conv2d"}),
    record(execution=execution_document(LINEAR) | {"weight_shape": [4, "x"]}),
    record(execution=execution_document(LINEAR) | {"extra": 1}),
    {k: v for k, v in WHOLE.items() if k != "eager_ms"},
    record(together=[1.0]),
    record(together=["a", 1.0]),
    record(reference_spread="wide"),
    WHOLE | {"steps": 3},
    WHOLE | {"steps": [[1.0, 2.0, 3.0]]},
    WHOLE | {"steps": [["a", 0.0, 1.0]]},
    PASS | {"found": 3},
    PASS | {"found": [3]},
    PASS | {"found": [FOUND | {"low_ms": 2.0}]},
    PASS | {"found": [FOUND | {"layer": 1}]},
    PASS | {"found": [FOUND | {"execution": {}}]},
    {k: v for k, v in PASS.items() if k != "sum_ms"},
    {"key": "pass:1", "failed": "no memory", "seconds": 1.0, "tried": [1]},
]


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_record_is_refused_in_one_line(tmp_path: Path, hostile: dict[str, Any]) -> None:
    assert record_problem(hostile)
    path = tmp_path / "j"
    with Journal(path, HEADER) as journal:
        journal.append(WHOLE)
    path.write_bytes(path.read_bytes() + json.dumps(hostile).encode() + b"\n" + json.dumps(WHOLE).encode() + b"\n")
    with pytest.raises(ProfileError) as caught:
        Journal(path, HEADER)
    assert "\n" not in str(caught.value)
    assert "line 3" in str(caught.value)


def test_records_as_they_are_written_have_no_problem() -> None:
    assert record_problem(record()) == record_problem(WHOLE) == ""
    assert record_problem(PASS) == record_problem(FAILED_PASS) == ""
    more = {"together": [0.1, 0.2], "reference_spread": 0.01, "again": True}
    assert record_problem(PASS | more) == record_problem(WHOLE | more | {"steps": [[1.0, 0.9, 1.1], [0, 0, 0]]}) == ""
    assert record_problem({k: v for k, v in record(failed="no memory").items() if not k.endswith("_ms")}) == ""


def test_two_runs_do_not_share_a_journal(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", HEADER), pytest.raises(ProfileError, match="in use"):
        Journal(tmp_path / "j", HEADER)


def test_a_journal_that_its_run_removes_meanwhile_is_not_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "j"
    with Journal(path, HEADER) as journal:
        journal.append(WHOLE)

    def late(stream: Any) -> bool:
        monkeypatch.undo()
        path.unlink()  # as the other run does at its end
        return take_lock(stream)

    monkeypatch.setattr(journals, "take_lock", late)
    with Journal(path, HEADER) as journal:
        assert journal.records == []
        journal.append(record())
    with Journal(path, HEADER) as journal:
        assert [item["key"] for item in journal.records] == [LINEAR.key]


def test_a_full_disk_keeps_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "j"

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Journal(path, HEADER) as journal:
        journal.append(WHOLE)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(
                ProfileError, match="No space left on device; what was measured so far is kept"
            ) as caught:
                journal.append(record())
    assert "\n" not in str(caught.value)
    with Journal(path, HEADER) as journal:
        assert journal.records[0]["key"] == "whole:start"


def test_without_a_path_it_only_remembers() -> None:
    with Journal(None, HEADER) as journal:
        journal.append(WHOLE)
        journal.remove()
        assert len(journal.records) == 1


def test_a_folder_in_its_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "j").mkdir()
    with pytest.raises(ProfileError, match="cannot write"):
        Journal(tmp_path / "j", HEADER)
