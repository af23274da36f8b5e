"""The latency benchmark goes on from its file, keeps to its time, and says what it should; nothing is timed here."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from advisor.errors import ProfileError
from tests.devices.formula import device_profile


def row(name: str, batch: int, **changed: Any) -> dict[str, Any]:
    return {
        "network": name, "batch": batch, "threads": 1, "training": False, "kind": "dense", "measured_ms": 10.0,
        "measured_low_ms": 9.9, "measured_high_ms": 10.1, "predicted_ms": 9.0, "low_ms": 8.0, "high_ms": 11.0,
        "pace": 1.0, "origin": "predicted", "macs": 1e9, "isolated_ms": None, "waited": 0.0,
    } | changed  # fmt: skip


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """The benchmark's module; `asked` is what it was to time, and `p.json` a device profile."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    module: Any = importlib.import_module("latency")
    module.asked_for = []

    def row_of(name: str, batch: int, profile: Any, arguments: Any) -> list[dict[str, Any]]:
        module.asked_for.append((name, batch))
        if name == "bad":
            raise ProfileError("bad does not run")
        return [row(name, batch, threads=arguments.threads, training=arguments.training)]

    monkeypatch.setattr(module, "row_of", row_of)
    monkeypatch.chdir(tmp_path)
    device_profile().save("p.json")
    yield module
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("latency", "latencies"):
            del sys.modules[name]


def main(bench: Any, *words: str) -> int:
    code: int = bench.main(["--profile", "p.json", *words])
    return code


def test_rows_are_kept_at_once_and_not_taken_again(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    out = Path("rows.jsonl")
    assert main(bench, "--networks", "a,bad,b", "--batches", "1,2", "--out", str(out)) == 0
    assert bench.asked_for == [(name, batch) for batch in (1, 2) for name in ("a", "bad", "b")]
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(r["network"], r["batch"]) for r in rows] == [("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert "bad, batch 1: bad does not run" in capsys.readouterr().err
    out.write_text(out.read_text()[:-20])  # killed while it wrote
    bench.asked_for.clear()
    assert main(bench, "--networks", "a,b", "--batches", "1,2", "--out", str(out)) == 0
    assert bench.asked_for == [("b", 2)]
    assert [json.loads(line)["network"] for line in out.read_text().splitlines()] == ["a", "b", "a", "b"]
    assert "median off by" in capsys.readouterr().out


def test_another_setting_in_the_same_file_is_another_row(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ((), ("--threads", "2"), ("--training",)):
        assert main(bench, "--networks", "a", "--batches", "1", "--out", "rows.jsonl", *words) == 0
        table = capsys.readouterr().out
        assert sum(line.startswith("a ") for line in table.splitlines()) == 1
    assert bench.asked_for == [("a", 1)] * 3


def test_the_budget_ends_a_run(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(bench, "--networks", "a,b", "--batches", "1", "--budget-seconds", "0") == 2
    assert bench.asked_for == []
    assert "0 s are spent; a, batch 1, and what follows is left" in capsys.readouterr().err


def test_a_file_of_something_else_is_refused(bench: Any) -> None:
    Path("rows.jsonl").write_text("hello\n{}\n")
    with pytest.raises(SystemExit, match="line 1: no row of this benchmark"):
        main(bench, "--networks", "a", "--out", "rows.jsonl")
