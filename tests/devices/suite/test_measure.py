import json
from pathlib import Path
from typing import Any

import pytest

from advisor.cli import run
from advisor.devices.profile import load_profile
from advisor.devices.suite import measure
from advisor.devices.suite.measure import measure_suite
from advisor.errors import ProfileError


def suite(out: Path, **options: Any) -> Any:
    return measure_suite(threads=(1,), training=False, budget_seconds=0.5, out=out, progress=False, **options)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()][1:]


def test_a_killed_suite_goes_on_where_it_stopped(
    small_suite: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    compiled: None,
) -> None:
    out, partial = tmp_path / "p.json", tmp_path / "p.json.partial"
    real = measure.run_piece

    def killed(number: int, *rest: Any) -> Any:
        if number == 3:
            raise KeyboardInterrupt
        return real(number, *rest)

    monkeypatch.setattr(measure, "run_piece", killed)
    with pytest.raises(KeyboardInterrupt):
        suite(out)
    assert not out.exists()
    kept = lines(partial)
    assert {record["key"].split(":")[1] for record in kept} == {"0", "1", "2"}
    assert f"{len(kept)} measurements are kept in {partial}; run the same command again" in capsys.readouterr().err
    monkeypatch.setattr(measure, "run_piece", real)
    small_suite.clear()
    made = suite(out)
    # A variant that a piece has not is drawn again, what was measured is not.
    assert [n for n in small_suite if f"piece:{n}:dense:1:inference" in {r["key"] for r in kept}] == []
    assert {3, 4, 5} <= set(small_suite)
    assert not partial.exists()
    (table,) = made.tables
    assert [p.number for p in table.pieces if p.variant == "dense"] == list(range(6))
    held = {(p.number, p.variant): p for p in table.pieces}
    for record in kept:
        _, number, variant, _, _ = record["key"].split(":")
        assert len(held[int(number), variant].steps) == len(record["steps"])
    found = load_profile(out)
    assert found.summary() == made.summary()
    assert found.settings is not None
    assert found.settings.batch == 0
    assert found.methods == {"dense", "direct"}


def test_another_command_does_not_go_on_from_it(
    small_suite: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "p.json"

    def killed(*rest: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(measure, "run_piece", killed)
    with pytest.raises(KeyboardInterrupt):
        suite(out)
    with pytest.raises(ProfileError, match=r"threads \[1\], training False"):
        measure_suite(threads=(1,), training=True, budget_seconds=0.5, out=out, progress=False)


def test_a_piece_that_does_not_run_is_noted(
    small_suite: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = measure.time_in_place
    calls = iter(range(100))

    def fails(*arguments: Any, **options: Any) -> Any:
        if next(calls) == 0:
            raise RuntimeError("no\nmemory")
        return real(*arguments, **options)

    monkeypatch.setattr(measure, "time_in_place", fails)
    made = suite(tmp_path / "p.json")
    assert made.notes == ("piece:0:dense:1:inference did not run here: no memory",)


def test_the_command_writes_a_profile(
    small_suite: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(measure, "_runs", lambda number, counts, training: iter([("dense", 1, False)]))
    out = tmp_path / "p.json"
    assert run(["profile", "--suite", "--threads", "1", "--budget-seconds", "0.1", "--out", str(out), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["tables"][0]["pieces"] == 6
    assert document["out"] == str(out)
    assert load_profile(out).tables


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"threads": (0,)}, "threads=0; expected 1 or more"),
        ({"budget_seconds": 0.0}, "budget_seconds=0.0; expected more than 0"),
        ({"budget_seconds": float("nan")}, "budget_seconds=nan; expected more than 0"),
        ({"out": "/nowhere/at/all.json"}, "/nowhere/at"),
    ],
)
def test_mistakes_are_told_before_anything_is_measured(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ProfileError, match=said):
        measure_suite(**({"progress": False} | options))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["zoo:digits_cnn", "--suite", "--out", "x.json"], "--suite with MODEL=zoo:digits_cnn"),
        (["--suite", "--batch", "4", "--out", "x.json"], "--suite with --batch=4"),
        (["--suite", "--training", "--out", "x.json"], "--suite with --training=True"),
        (["--suite", "--patterns", "group", "--out", "x.json"], "--suite with --patterns=group"),
        (["--suite"], "--out"),
        (["--out", "x.json"], "profile needs a MODEL, or --suite"),
        (["--suite", "--out", "/nowhere/x.json"], "/nowhere"),
    ],
)
def test_the_command_s_mistakes_take_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["profile", *arguments]) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert printed.out == ""
    assert list(tmp_path.iterdir()) == []
