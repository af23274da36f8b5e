"""What all tests share: few threads, so that test processes side by side do not fight over the cores."""

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without sparse kernels, as far as the choice of methods goes."""
    monkeypatch.setattr("advisor.runtime.methods._probe", lambda kind: ("", "switched off by a test"))


@pytest.fixture
def with_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with them; what runs is the reference where none were built."""
    monkeypatch.setattr("advisor.runtime.methods._probe", lambda kind: ("test 1", ""))
