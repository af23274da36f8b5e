"""What torch's CPU allocator handed out during a call, oneDNN's tensors included."""

from __future__ import annotations

from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile


def allocated_peak(call: Callable[[], object]) -> int:
    """Bytes at the worst moment beyond those before the call."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        result = call()
    del result
    events = found.profiler.kineto_results.events()  # type: ignore[union-attr]
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    alive = peak = 0
    for _, change in changes:
        alive += change
        peak = max(peak, alive)
    return peak
