"""Pieces and layers on a GPU's clock: launched one by one as users call them, and replayed from CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch

from advisor.devices.cuda.forms import checked_number, converted
from advisor.devices.cuda.graphs import capture
from advisor.devices.measuring.subject import forward_call
from advisor.errors import KernelError
from advisor.runtime.sparse import Sparse

if TYPE_CHECKING:
    from advisor.devices.cuda.run import GpuRun
    from advisor.devices.cuda.suite.pieces import GpuPiece
    from advisor.runtime.execution import Execution

_SECONDS = 0.12  # of each way of each piece, about
_LAYER_MS = 0.3  # of a graph: short layers are repeated in it until it takes so long
_MOST_CALLS = 20
_REPEATS = 7


def time_piece(drawn: GpuPiece, form: GpuRun, device: str) -> dict[str, Any]:
    """ms of a whole piece, eagerly from an idle device and from a CUDA graph.

    Raises:
        RuntimeError, KernelError: it does not run, or no graph takes it.
    """
    number = checked_number(form.options.number)
    module, inputs = drawn.module.to(device), (drawn.input.to(device),)
    call = forward_call(*converted(module, inputs, number, channels_last=form.options.channels_last))
    eager = _median(form.clock(), call)
    return {"eager_ms": eager, "graph_ms": _median(form.clock(), capture(call, device))}


def time_layer(execution: Execution, form: GpuRun, device: str) -> float:
    """ms of a layer as one of many calls in a CUDA graph: what the GPU takes, launching left out.

    Raises:
        RuntimeError, KernelError: it does not run here by that method.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module, inputs = execution.build()
    call = form.layer(module.to(device), inputs.to(device), training=False)
    if isinstance(module, Sparse):
        _, (given,) = converted(module, (inputs.to(device),), checked_number(form.options.number))
        if (runs := module.to(given.dtype).runs_by(given)) != execution.method:
            raise KernelError(f"it would run by {runs!r} here")
    clock = form.clock()
    for _ in range(3):
        call()
    once = min(clock(call) for _ in range(3))
    count = int(min(max(_LAYER_MS / max(once, 1e-3), 1), _MOST_CALLS))

    def many() -> None:
        for _ in range(count):
            call()

    replay = capture(many if count > 1 else call, device)
    replay()
    return median(clock(replay) for _ in range(_REPEATS)) / count


def _median(clock: Callable[[Callable[[], object]], float], call: Callable[[], object]) -> float:
    for _ in range(3):
        call()
    began, taken = perf_counter(), [clock(call) for _ in range(4)]
    while perf_counter() - began < _SECONDS and len(taken) < 25:
        taken.append(clock(call))
    return median(taken)
