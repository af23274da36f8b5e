"""Choices of the tuner: measured once, kept in a file that may be missing, foreign, broken or read-only."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from advisor.runtime import native
from advisor.runtime.native import calls, tuner, tuning
from advisor.runtime.native.tuning import Layout, Tuning
from tests.runtime.native.cases import Case, assert_close

CASE = Case(block=8, channels=8, size=(10, 20))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "some folder" / "tuning.jsonl"
    monkeypatch.delenv("ADVISOR_TUNING")
    monkeypatch.setenv("ADVISOR_TUNING_CACHE", str(path))
    return path


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kinds of the jobs whose candidates were measured."""
    found: list[str] = []
    real: Callable[..., Any] = tuner._fastest
    monkeypatch.setattr(tuner, "_fastest", lambda kind, *rest: found.append(kind) or real(kind, *rest))
    return found


def call(case: Case = CASE) -> torch.Tensor:
    return native.conv_forward(case.x(), *case.layer(), None, None, "none", case.conv)


def start_over() -> None:
    """As a new process would."""
    calls.forget()
    tuner.forget()


def entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_measures_once_and_writes_it_down(cache: Path, measured: list[str]) -> None:
    first = call()
    assert torch.equal(call(), first)
    assert measured == ["forward"]
    [entry] = entries(cache)
    assert set(entry) == {"key", "tuning"}
    assert tuner.cpu() in entry["key"]


def test_another_process_reads_it(cache: Path, measured: list[str]) -> None:
    first = call()
    start_over()
    assert torch.equal(call(), first)
    assert measured == ["forward"]
    assert len(entries(cache)) == 1


def test_the_file_decides(cache: Path, measured: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    call()
    [entry] = entries(cache)
    job_tunings: list[Any] = []
    real: Callable[..., Any] = tuner.choose
    monkeypatch.setattr(tuner, "choose", lambda *a: job_tunings.append(real(*a)) or job_tunings[-1])
    vectors = next(v for v in (4, 5) if v != entry["tuning"]["vectors"]) if native.isa() == "avx512" else 2
    other = {**entry["tuning"], "outputs": 4, "vectors": vectors, "layout": 1, "chunks": 1}
    assert other != entry["tuning"]
    cache.write_text(json.dumps({**entry, "tuning": other}) + "\n")
    start_over()
    call()
    assert (job_tunings[0].outputs, job_tunings[0].vectors) == (4, vectors)
    assert measured == ["forward"]


def test_processes_that_measure_at_the_same_time_agree(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file's first choice counts, also for the process that wrote the second."""
    chosen: list[Tuning] = []
    choose: Callable[..., Any] = tuner.choose
    fastest: Callable[..., Any] = tuner._fastest

    def beside_another(kind: Any, job: Any, isa: int, run: Any) -> Tuning:
        own: Tuning = fastest(kind, job, isa, run)
        others = sorted(tuner._every(kind, job, isa) - {own}, key=repr)
        tuner._append(tuner._key(kind, job, isa), others[0])
        return own

    monkeypatch.setattr(tuner, "choose", lambda *a: chosen.append(choose(*a)) or chosen[-1])
    monkeypatch.setattr(tuner, "_fastest", beside_another)
    call()
    theirs, own = (entry["tuning"] for entry in entries(cache))
    assert theirs != own
    assert asdict(chosen[0]) == theirs
    start_over()
    call()
    assert chosen[1] == chosen[0], "whoever comes later reads the same"


@pytest.mark.parametrize(
    "change",
    [
        {"size": (10, 21)},
        {"channels": 9},
        {"block": 4, "blocks": 4},
        {"batch": 1},
        {"stride": (1, 2)},
        {"padding": (1, 0)},
        {"dilation": (2, 1)},
        {"kernel": (3, 1)},
        {"density": 0.9},
        {"layout": "channels last"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_part_of_a_shape_counts(change: dict[str, Any], cache: Path, measured: list[str]) -> None:
    call()
    call(replace(CASE, **change))
    assert len(measured) == 2
    assert len({entry["key"] for entry in entries(cache)}) == 2


@pytest.mark.parametrize("layout", ["part of wider rows", "every other column", "columns first", "channels first"])
def test_what_reads_whole_planes_is_not_chosen_for_parts_of_them(
    layout: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(block=8, channels=8, size=(20, 20), kernel=(1, 1), padding=(0, 0))

    def in_place_where_it_can(kind: Any, job: Any, isa: int, run: Any) -> Tuning:
        choices = [*tuning.candidates(job, isa)]
        return next((c for c in choices if c.layout == Layout.IN_PLACE), choices[0])

    monkeypatch.setattr(tuner, "_fastest", in_place_where_it_can)
    whole = call(case)
    torch.testing.assert_close(call(replace(case, layout=layout)), whole)


def test_threads_sets_and_kinds_have_choices_of_their_own(
    cache: Path, measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    call()
    torch.set_num_threads(torch.get_num_threads() + 1)
    call()
    monkeypatch.setenv("ADVISOR_ISA", "portable")
    calls.forget()
    call()
    weight, indptr, inputs = CASE.layer()
    grad = CASE.tensor(*CASE.out_shape())
    native.conv_grad_input(grad, weight, indptr, inputs, CASE.x().shape, CASE.conv)
    native.conv_grad_weight(grad, CASE.x(), indptr, inputs, tuple(weight.shape), CASE.conv)
    expected = ["forward"] * (2 if native.isa() == "portable" and not _can_lower() else 3)
    assert measured == [*expected, "grad_input", "grad_weight"]
    assert len({entry["key"] for entry in entries(cache)}) == len(measured)


def _can_lower() -> bool:
    from advisor.runtime.native import library

    return int(library.kernels().isa()) > 0


GARBAGE = {
    "half a line": lambda good: good[: len(good) // 2],
    "no JSON": lambda good: "\x00\x01 tuning?\n" + good,
    "other JSON": lambda good: '[1, 2]\n"text"\nnull\n3\n' + good,
    "no tuning": lambda good: json.dumps({"key": json.loads(good)["key"]}) + "\n",
    "other fields": lambda good: good.replace('"lanes"', '"lines"'),
    "unknown layout": lambda good: good.replace('"layout": ', '"layout": 9'),
    "words for numbers": lambda good: json.dumps({**json.loads(good), "tuning": "fast"}) + "\n",
}


@pytest.mark.parametrize("name", GARBAGE)
def test_a_broken_file_is_measured_around(name: str, cache: Path, measured: list[str]) -> None:
    first = call()
    cache.write_text(GARBAGE[name](cache.read_text()))
    start_over()
    torch.testing.assert_close(call(), first)


def test_bytes_that_are_no_text(cache: Path, measured: list[str]) -> None:
    cache.parent.mkdir()
    cache.write_bytes(b"\xff\xfe\x00")
    call()
    assert measured == ["forward"]


def impossible(**values: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda tuning: {**tuning, **values}


IMPOSSIBLE = {
    "no such tile": impossible(outputs=7, vectors=5),
    "lanes of another set": impossible(lanes=5),
    "strings": impossible(lanes="8"),
    "fractions": impossible(vectors=1.5),
    "nothing": impossible(vectors=None),
    "huge": impossible(vectors=2**40),
    "below zero": impossible(vectors=-1, chunks=-3),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_a_choice_that_cannot_run_does_not_stop_the_layer(name: str, cache: Path, measured: list[str]) -> None:
    call()
    [entry] = entries(cache)
    cache.write_text(json.dumps({**entry, "tuning": IMPOSSIBLE[name](entry["tuning"])}) + "\n")
    start_over()
    dense = CASE.dense(*CASE.layer())
    assert_close(call(), CASE.expected(CASE.x(), dense), CASE.expected(CASE.x().abs(), dense.abs()))


@pytest.mark.parametrize("place", ["a file", "/proc/nowhere/tuning.jsonl"])
def test_a_place_that_cannot_be_written(
    place: str, tmp_path: Path, cache: Path, measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("ADVISOR_TUNING_CACHE", str(tmp_path / place / "tuning.jsonl"))
    first = call()
    calls.forget()
    assert torch.equal(call(), first)
    assert measured == ["forward"]  # remembered by the process all the same


def test_no_file_on_request(tmp_path: Path, cache: Path, measured: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADVISOR_TUNING_CACHE", "off")
    monkeypatch.chdir(tmp_path)
    assert tuner.cache_file() is None
    call()
    assert measured == ["forward"]
    assert list(tmp_path.rglob("*")) == []


def test_where_the_file_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ADVISOR_TUNING_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert tuner.cache_file() == tmp_path / "sparsity-advisor" / "tuning.jsonl"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tuner.cache_file() == tmp_path / ".cache" / "sparsity-advisor" / "tuning.jsonl"


def test_off_measures_nothing(cache: Path, measured: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADVISOR_TUNING", "off")
    call()
    assert measured == []
    assert not cache.exists()


def test_nothing_to_measure_on_nothing(cache: Path, measured: list[str]) -> None:
    call(replace(CASE, batch=0))
    call(replace(CASE, density=0.0))
    assert measured == []
