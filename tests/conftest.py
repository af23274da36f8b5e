"""What all tests share: few threads, so that test processes side by side do not fight over the cores, and no tuning."""

import os
import tempfile
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
# Tilings by rule, not by what is fastest on a busy machine; what a test measures all the same stays out of the home.
os.environ.setdefault("ADVISOR_TUNING", "off")
_CACHE = tempfile.TemporaryDirectory(prefix="advisor-tests-")
os.environ["ADVISOR_TUNING_CACHE"] = str(Path(_CACHE.name) / "tuning.jsonl")


@pytest.fixture
def no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without sparse kernels, as far as the choice of methods goes."""
    monkeypatch.setattr("advisor.runtime.methods._probe", lambda kind: ("", "switched off by a test"))


@pytest.fixture
def with_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with them; what runs is the reference where none were built."""
    monkeypatch.setattr("advisor.runtime.methods._probe", lambda kind: ("test 1", ""))


@pytest.fixture
def compiled(with_kernels: None) -> None:
    """The sparse kernels themselves; skips where none were built."""
    from advisor.runtime import native

    if not native.available():
        pytest.skip(native.why_not() or "no sparse kernels")
