"""Emptying a GPU's second-level cache between repeats, so that a layer finds it as cold as after a large neighbour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advisor.devices.measuring.clocks import Clock, Work

_LEAST = 32 * 2**20
_UNKNOWN = 256 * 2**20  # more than any GPU's L2 so far
_MOST_SHARE = 8  # at most 1/8 of the device's memory


def l2_bytes(properties: Any) -> int | None:
    """The size of the L2 by torch's device properties; None where they do not say."""
    size = getattr(properties, "L2_cache_size", None)
    return int(size) if size else None


def flush_bytes(properties: Any) -> int:
    """How much to write so that nothing else is left in the L2: twice its size, since its sets fill unevenly.

    Args:
        properties: `torch.cuda.get_device_properties(device)`: `L2_cache_size` and `total_memory` are looked at.
    """
    size = l2_bytes(properties)
    wanted = _UNKNOWN if size is None else max(2 * size, _LEAST)
    return max(min(wanted, int(properties.total_memory) // _MOST_SHARE), 2**20)


class L2Flush:
    """Called, it writes over the whole buffer, in the current stream; the device is not waited for."""

    def __init__(self, device: str = "cuda") -> None:
        import torch

        place = torch.device(device)
        self.bytes = flush_bytes(torch.cuda.get_device_properties(place))
        self._buffer = torch.empty(self.bytes // 4, dtype=torch.int32, device=place)

    def __call__(self) -> None:
        self._buffer.zero_()


class FlushingClock:
    """A clock that empties the L2, off the clock, before each run: give it to `time_interleaved`."""

    def __init__(self, clock: Clock, flush: Work) -> None:
        """`clock`: one that waits for the device before it starts, as `CudaClock` does. `flush`: an `L2Flush`."""
        self._clock, self._flush = clock, flush

    def __call__(self, work: Work) -> float:
        self._flush()
        return self._clock(work)
