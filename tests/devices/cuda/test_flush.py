from types import SimpleNamespace

import pytest
import torch

from advisor.devices.cuda.flush import FlushingClock, L2Flush, flush_bytes
from tests.devices.cuda.conftest import needs_gpu

MIB, GIB = 2**20, 2**30


@pytest.mark.parametrize(
    ("l2", "memory", "expected"),
    [
        (50 * MIB, 80 * GIB, 100 * MIB),  # H100
        (4 * MIB, 16 * GIB, 32 * MIB),  # T4: never less than 32
        (0, 16 * GIB, 256 * MIB),  # not told
        (96 * MIB, 1 * GIB, 128 * MIB),  # at most an eighth of the memory
    ],
)
def test_how_much_is_written(l2: int, memory: int, expected: int) -> None:
    assert flush_bytes(SimpleNamespace(L2_cache_size=l2, total_memory=memory)) == expected


def test_old_torch_does_not_say() -> None:
    assert flush_bytes(SimpleNamespace(total_memory=16 * GIB)) == 256 * MIB


def test_the_flush_is_off_the_clock() -> None:
    order: list[str] = []

    def inner(work: object) -> float:
        order.append("clock starts")
        work()  # type: ignore[operator]
        return 1.5

    clock = FlushingClock(inner, lambda: order.append("flush"))
    assert clock(lambda: order.append("work")) == 1.5
    assert order == ["flush", "clock starts", "work"]


@pytest.mark.gpu
@needs_gpu
def test_a_real_flush() -> None:
    from advisor.devices.measuring.clocks import clock_for

    flush = L2Flush("cuda")
    assert flush.bytes >= 32 * MIB
    x = torch.ones(1 << 20, device="cuda")
    assert FlushingClock(clock_for("cuda"), flush)(lambda: x.add_(1)) > 0
