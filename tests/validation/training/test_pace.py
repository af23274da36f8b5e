"""Time per step and peak memory."""

import mmap

import pytest

from validation.training.pace import WARM_UP, Pace


def test_the_first_steps_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("validation.training.pace.time.perf_counter", lambda: now[0])
    pace = Pace("cpu")
    for seconds in [9.0] * WARM_UP + [0.002, 0.004, 0.003]:
        now[0] += seconds
        pace.step()
    assert pace.step_ms == pytest.approx(3.0)


def test_an_epoch_of_few_steps_has_no_median() -> None:
    pace = Pace("cpu")
    for _ in range(WARM_UP):
        pace.step()
    assert pace.step_ms is None


def test_the_peak_is_of_this_epoch_alone() -> None:
    before = Pace("cpu")
    if before.peak_bytes is None:
        pytest.skip("this system does not let a peak start anew")
    # From the system itself: an allocator may keep what it was given back, and then the process still holds it.
    with mmap.mmap(-1, 64 << 20) as big:
        big.write(b"\1" * (64 << 20))
        raised = before.peak_bytes
    after = Pace("cpu").peak_bytes
    assert raised is not None
    assert after is not None
    assert raised - after > 50 << 20


def test_a_system_that_cannot_start_a_peak_anew_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("validation.training.pace.forget_peak", lambda: False)
    assert Pace("cpu").peak_bytes is None
