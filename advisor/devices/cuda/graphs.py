"""Launch cost apart: the same work launched kernel by kernel, and replayed from a CUDA graph."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from advisor.devices.cuda.kernels import count_kernels
from advisor.devices.measuring.timing import Sample, clock_for, time_interleaved
from advisor.errors import KernelError

if TYPE_CHECKING:
    from advisor.devices.measuring.clocks import Clock, Work

_WARMUP = 3  # runs on the side stream: libraries set themselves up, allocations settle


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphTiming:
    """Work timed both ways in one run, in turn.

    Attributes:
        eager: launched by the interpreter, from an idle device: what a user without graphs waits for.
        graph: replayed from a CUDA graph: what the device itself takes, with the gaps between kernels that it needs.
            None where no graph could be captured, see `problem`.
        kernels: how many kernels one run launches; None where the profiler saw none.
    """

    eager: Sample
    graph: Sample | None
    kernels: int | None
    problem: str = ""

    @property
    def launch_ms(self) -> float | None:
        """What launching adds beyond what the device hides: eager - graph, never below 0; None without a graph."""
        return None if self.graph is None else max(self.eager.median_ms - self.graph.median_ms, 0.0)

    @property
    def launch_us_per_kernel(self) -> float | None:
        """Microseconds that each launch adds; None where either number is missing."""
        if self.launch_ms is None or not self.kernels:
            return None
        return 1e3 * self.launch_ms / self.kernels

    @property
    def launch_bound(self) -> bool:
        """Whether launching takes more than a tenth of the eager time."""
        return self.launch_ms is not None and self.launch_ms > 0.1 * self.eager.median_ms

    def to_json(self) -> dict[str, Any]:
        graph = self.graph
        return {
            "eager_ms": self.eager.median_ms,
            "eager_low_ms": self.eager.low_ms,
            "eager_high_ms": self.eager.high_ms,
            "graph_ms": graph.median_ms if graph else None,
            "graph_low_ms": graph.low_ms if graph else None,
            "graph_high_ms": graph.high_ms if graph else None,
            "launch_ms": self.launch_ms,
            "launch_us_per_kernel": self.launch_us_per_kernel,
            "kernels": self.kernels,
            "repeats": self.eager.repeats,
            "problem": self.problem,
        }


def capture(call: Work, device: str = "cuda") -> Callable[[], None]:
    """`call` as a CUDA graph; the result replays it on the same memory.

    The replay reads the inputs that `call` was captured with where they lie, and writes its outputs where they lay.

    Raises:
        KernelError: the work cannot be captured (it waits for the device, or its shapes depend on data).
    """
    import torch

    place = torch.device(device)
    try:
        with torch.cuda.device(place):
            graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(_WARMUP):
                    call()
            torch.cuda.current_stream().wait_stream(side)
            with torch.cuda.graph(graph):
                call()
    except RuntimeError as error:
        with contextlib.suppress(RuntimeError):  # the broken capture may report itself once more
            torch.cuda.synchronize(place)
        raise KernelError(f"no CUDA graph of this work: {' '.join(str(error).split())[:200]}") from error

    def replay(held: Work = call) -> None:  # what `call` holds is read where it lies, so it must stay
        graph.replay()

    return replay


def time_graph(
    call: Work,
    device: str = "cuda",
    *,
    clock: Clock | None = None,
    max_seconds: float = 2.0,
    min_repeats: int = 8,
    spread: float = 0.02,
) -> GraphTiming:
    """Times `call` eagerly and from a graph, interleaved, and counts its kernels.

    Args:
        call: one run on `device`, its inputs and outputs in memory that stays.
        clock: `clock_for(device)`, or a `FlushingClock` over it.
        max_seconds, min_repeats, spread: as of `time_interleaved`.
    """
    works: dict[str, Work] = {"eager": call}
    problem = ""
    try:
        works["graph"] = capture(call, device)
    except KernelError as error:
        problem = str(error)
    kernels = count_kernels(call, device)
    taken = time_interleaved(
        works, clock=clock or clock_for(device), min_repeats=min_repeats, max_seconds=max_seconds, spread=spread
    )
    return GraphTiming(eager=taken["eager"], graph=taken.get("graph"), kernels=kernels, problem=problem)
