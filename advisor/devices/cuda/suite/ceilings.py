"""What a GPU reaches at best, measured: large products in each number format, and a large copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from advisor.devices.cuda.facts import facts_of
from advisor.devices.cuda.forms import Number, number_format, why_not_number
from advisor.devices.gpu.facts import Facts
from advisor.devices.measuring.clocks import clock_for
from advisor.errors import DeviceError

if TYPE_CHECKING:
    from advisor.devices.cuda.clocks import ClockState

_SIZES: dict[Number, int] = {"fp32": 4096, "tf32": 8192, "fp16": 8192, "bf16": 8192}  # of square products
_COPY_BYTES = 2**30
_REPEATS = 6
_KINDS = {"fp32": "float32", "tf32": "float32", "fp16": "float16", "bf16": "bfloat16"}


def measured_facts(device: str, state: ClockState | None) -> Facts:
    """The GPU's peak rates as it gives them here, instead of those of its datasheet.

    Each is the best of a few large calls on random numbers: an 8192 x 8192 product (4096 in plain float32), 2 FLOPs a
    multiply-add; and a copy of 1 GiB, counting bytes read and written.

    Args:
        state: of the clocks; the driver knows the highest SM clock.

    Raises:
        DeviceError: it has not the memory for that.
    """
    import torch

    found = facts_of(device)
    clock = clock_for(device)
    peaks: dict[str, float] = {}
    try:
        for number, size in _SIZES.items():
            if why_not_number(number, found):
                continue
            a, b = (torch.randn(size, size, device=device).to(getattr(torch, _KINDS[number])) for _ in range(2))
            with number_format(number):
                peaks[number] = 2e-9 * size**3 / _best(clock, lambda a=a, b=b: a @ b)  # type: ignore[misc]
            del a, b
        source = torch.zeros(_COPY_BYTES // 4, device=device)
        target = torch.empty_like(source)
        bandwidth = 2e-6 * _COPY_BYTES / _best(clock, lambda: target.copy_(source))
    except torch.OutOfMemoryError as error:
        raise DeviceError(f"{found.name}: not the 3 GB of memory free that its rates are measured with") from error
    finally:
        torch.cuda.empty_cache()
    return Facts(
        device=found.name,
        sm_count=found.multiprocessors,
        boost_mhz=(state.most_sm_mhz if state else None) or 1000.0,
        fp32_tflops=_round(peaks["fp32"]),
        bandwidth_gb_s=_round(bandwidth),
        l2_mb=(found.l2_bytes or 4 * 2**20) / 2**20,
        fp16_tflops=_round(peaks.get("fp16", 0.0)),
        bf16_tflops=_round(peaks.get("bf16", 0.0)),
        tf32_tflops=_round(peaks.get("tf32", 0.0)),
        source="rates measured on this GPU by large products and a large copy",
    )


def _best(clock: Callable[[Callable[[], object]], float], work: Callable[[], object]) -> float:
    """The shortest of a few runs, in ms."""
    for _ in range(2):
        work()
    return min(clock(work) for _ in range(_REPEATS))


def _round(value: float) -> float:
    return float(f"{value:.4g}")
