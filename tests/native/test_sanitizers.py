"""No kernel reads or writes beside its data, on any instruction set, tiling, order of axes or number of threads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.native.building import check, driver

SECONDS = float(os.environ.get("ADVISOR_CHECK_SECONDS", "20"))
FORWARD = {
    "list in place",
    "list columns",
    "list shifted",
    "list halo",
    "list few",
    "rows shifted",
    "rows halo",
    "swapped",
}
KERNELS = {
    "forward": FORWARD,
    "grad_input": FORWARD,
    "grad_weight": {"list columns", "list shifted"},
}


def times(report: str) -> dict[str, int]:
    """The lines "portable forward list columns: 123"."""
    return {name: int(number) for name, _, number in (line.rpartition(": ") for line in report.splitlines())}


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_kernels_stay_within_their_arrays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    flags = "-O1 -g1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined"
    program = driver(monkeypatch, tmp_path, flags)
    found = times(check(program, SECONDS, 1, ASAN_OPTIONS="detect_leaks=1", UBSAN_OPTIONS="print_stacktrace=1"))
    assert found["cases"] > 20
    sets = {name.split()[0] for name in found} - {"cases", "failures"}
    assert "portable" in sets
    for name in sets:
        for direction, tiles in KERNELS.items():
            for tile in tiles:
                assert found.get(f"{name} {direction} {tile}", 0) > 0, f"{name} {direction} {tile} never ran"


def test_threads_of_our_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The pool that serves processes without torch's threads: every item once, callers side by side, after a fork."""
    flags = "-O1 -g1 -DADVISOR_POOL_ONLY -fsanitize=address,undefined -fno-sanitize-recover=undefined"
    program = driver(monkeypatch, tmp_path, flags, ("pool.cpp", "support.cpp", "transposed.cpp"))
    assert times(check(program, 1, 1))["failures"] == 0


def test_threads_of_our_own_do_not_race(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    flags = "-O1 -g1 -DADVISOR_POOL_ONLY -fsanitize=thread"
    program = driver(monkeypatch, tmp_path, flags, ("pool.cpp", "support.cpp", "transposed.cpp"))
    assert times(check(program, 1, 1, TSAN_OPTIONS="halt_on_error=1"))["failures"] == 0
