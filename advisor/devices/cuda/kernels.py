"""Which kernels a piece of work launches, by torch's profiler."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advisor.devices.measuring.clocks import Work

_COPIES = ("Memcpy", "Memset")


def kernels_of(call: Work, device: str = "cuda") -> dict[str, int]:
    """Name → launches of one run of `call`, after one that is not looked at; empty where the profiler sees none."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    place = torch.device(device)
    call()
    torch.cuda.synchronize(place)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA], acc_events=True) as profiler:
        call()
        torch.cuda.synchronize(place)
    return kernel_names(profiler.events() or ())


def count_kernels(call: Work, device: str = "cuda") -> int | None:
    """How many kernels one run launches; None where the profiler sees none (it lacks the rights, or CUPTI)."""
    return sum(kernels_of(call, device).values()) or None


def kernel_names(events: Iterable[Any]) -> dict[str, int]:
    """Name → launches among a profiler's events: those on the device, copies and fills by the copy engine left out."""
    found: Counter[str] = Counter()
    for event in events:
        on_device = getattr(event.device_type, "name", "") == "CUDA"
        if on_device and not getattr(event, "is_user_annotation", False) and not event.name.startswith(_COPIES):
            found[str(event.name)] += 1
    return dict(found)
