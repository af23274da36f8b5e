"""The speed benchmark runs and says what it should; how fast anything was is not looked at."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from advisor.runtime import native

Main = Callable[[list[str]], int]


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> Iterator[Main]:
    if not native.available():
        pytest.skip(native.why_not())
    before, threads = set(sys.modules), torch.get_num_threads()
    monkeypatch.setenv("ADVISOR_TUNING", "off")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    module = importlib.import_module("runtime")
    monkeypatch.setattr("speed.clock.LEAST_MS", 0.01)
    monkeypatch.setattr(module, "peak_gflops", lambda threads: (100.0 * threads, "nothing, in a test"))
    yield module.main
    torch.set_num_threads(threads)
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("runtime", "speed"):
            del sys.modules[name]


WORDS = ["--networks", "zoo:digits_cnn", "--patterns", "group4,channel", "--densities", "0.5", "--batches", "1"]


def run(main: Main, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main([*WORDS, "--repeats", "1", "--json", *words]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["machine"]["kernels"] == native.isa()
    return found


def test_layers(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(main, capsys, "--threads", "1,2")["layers"]
    sparse = [row for row in found["sums"] if "over_best" in row]
    assert [(row["threads"], row["pattern"]) for row in sparse] == [
        (t, p) for t in (1, 2) for p in ("group4", "channel")
    ]
    covered = [layer for layer in found["layers"] if "channel 0.5" in layer]
    for row in sparse:
        alike = [layer for layer in covered if layer["threads"] == row["threads"]]
        ms = sum(layer["count"] * layer[f"{row['pattern']} 0.5"] for layer in alike)
        best = sum(
            layer["count"] * min(layer[name] for name in ("eager", "last", "packed", "packed last")) for layer in alike
        )
        assert row["ms"] == pytest.approx(ms)
        assert row["over_best"] == pytest.approx(best / ms)
        assert row["layers"] == len(alike) > 0
    assert len(found["means"]) == 4


@pytest.mark.parametrize(
    ("section", "hows"),
    [
        ("network", ["eager", "folded", "folded, channels last", "group4 0.5", "channel 0.5"]),
        ("training", ["eager", "last", "group4 0.5", "channel 0.5"]),
        ("linear", ["eager", "group4 0.5", "channel 0.5", "unstructured 0.5"]),
    ],
)
def test_other_sections(section: str, hows: list[str], main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(main, capsys, "--section", section)[section]
    rows = found["sums"] if section == "training" else found["rows"]
    assert set(hows) <= {row["how"] for row in rows}
    assert all(row["ms"] > 0 for row in rows)


def test_tables(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, "--repeats", "1", "--layers"]) == 0
    out = capsys.readouterr().out
    assert "over best dense" in out
    assert "geometric means" in out


def test_a_wrong_word(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--patterns", "groups16"])
    assert "groups16" in capsys.readouterr().err
