import time

import pytest
import torch

from advisor.devices.measuring import clocks
from advisor.devices.measuring.clocks import CpuClock, CudaClock, clock_for, waited_share
from advisor.devices.settings import cpu_threads


def test_the_cpu_clock_takes_wall_time() -> None:
    clock = clock_for("cpu")
    assert isinstance(clock, CpuClock)
    assert 9 <= clock(lambda: time.sleep(0.01)) < 1000


def test_waiting_for_a_core_is_taken_out_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    now, queued = [0], [0]
    monkeypatch.setattr(clocks.time, "perf_counter_ns", lambda: now[0])
    monkeypatch.setattr(clocks, "queued_ns", lambda: queued[0])

    def work(total_ms: int, waited_ms: int) -> None:
        now[0] += total_ms * 1_000_000
        queued[0] += waited_ms * 1_000_000

    clock = CpuClock(one_thread=True)
    assert clock(lambda: work(7, 4)) == pytest.approx(3.0)
    assert clock(lambda: work(3, 0)) == pytest.approx(3.0)
    assert waited_share(clock) == pytest.approx(0.4)
    assert clock(lambda: work(1, 5)) > 0  # a scheduler that counts otherwise does not make time negative
    assert waited_share(lambda work: 1.0) == 0.0
    several = CpuClock()  # a thread may wait for its own workers
    assert several(lambda: work(7, 4)) == pytest.approx(7.0)
    assert waited_share(several) == 0.0


@pytest.mark.parametrize(("threads", "share"), [(1, 0.5), (2, 0.0)])
def test_only_one_thread_is_relieved_of_its_waiting(
    threads: int, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(0, 100, 2))
    monkeypatch.setattr(clocks.time, "perf_counter_ns", lambda: 2 * next(ticks))
    queued = iter(range(0, 100, 2))
    monkeypatch.setattr(clocks, "queued_ns", lambda: next(queued))
    with cpu_threads(threads):
        clock = clock_for("cpu")
    clock(lambda: None)
    assert waited_share(clock) == share


def test_a_system_that_does_not_say_how_long_a_thread_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    found: list[float] = []

    def elsewhere() -> None:
        monkeypatch.setattr(clocks.os, "open", _absent)
        found.append(clocks.queued_ns())
        found.append(CpuClock(one_thread=True)(lambda: time.sleep(0.002)))

    thread = threading.Thread(target=elsewhere)  # the stream is kept per thread
    thread.start()
    thread.join()
    assert found[0] == 0
    assert found[1] >= 2


def _absent(*_: object, **__: object) -> None:
    raise FileNotFoundError


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_cuda_clock_waits_for_the_kernels() -> None:
    clock = clock_for("cuda")
    assert isinstance(clock, CudaClock)
    big, small = torch.randn(4096, 4096, device="cuda"), torch.randn(64, 64, device="cuda")
    for _ in range(3):
        clock(lambda: big @ big)
    assert clock(lambda: big @ big) > clock(lambda: small @ small) > 0
