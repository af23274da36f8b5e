"""What the suite runs on a GPU: the CPU suite's pieces of networks in larger batches, their layers, thinner ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from advisor.devices.cuda.candidates import sparse_execution
from advisor.devices.steps.record import Recording, record_steps
from advisor.devices.suite.designs import piece

if TYPE_CHECKING:
    import torch

    from advisor.runtime.execution import Execution

_TIMES = (1, 1, 4, 8, 16, 64)  # how many times the batch of the CPU's piece
_MOST_BYTES = 2**30  # of one operator's result in float32
_MOST_MACS = 2e11
_BLOCKS = (16, 32, 64)
_DENSITIES = (0.5, 0.35, 0.25, 0.125, 0.06)


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuPiece:
    """A piece on the CPU, in float32: what shall run, and the steps it takes."""

    number: int
    kind: str
    module: torch.nn.Module
    input: torch.Tensor  # (B, C, H, W)
    recording: Recording


def gpu_piece(number: int) -> GpuPiece:
    """The suite's network `number` in the batch that a GPU gets of it; the same everywhere."""
    import torch

    drawn = piece(number)
    rng = np.random.Generator(np.random.PCG64([21, number]))
    times = int(_TIMES[int(rng.integers(len(_TIMES)))])
    once = record_steps(drawn.module, (drawn.input,))
    largest = max((step.written_bytes for step in once.steps), default=1)
    macs = sum(step.macs for step in once.steps)
    times = max(min(times, int(_MOST_BYTES / largest), int(_MOST_MACS / max(macs, 1))), 1)
    image = torch.randn(
        drawn.input.shape[0] * times, *drawn.input.shape[1:], generator=torch.Generator().manual_seed(number)
    )
    recording = once if times == 1 else record_steps(drawn.module, (image,))
    return GpuPiece(number=number, kind=drawn.kind, module=drawn.module, input=image, recording=recording)


def layers_of(drawn: GpuPiece) -> tuple[Execution, ...]:
    """The distinct dense layers that a piece runs, in order."""
    found = (step.execution for step in drawn.recording.steps if step.execution is not None and not step.backward)
    return tuple(dict.fromkeys(e for e in found if e.method == "dense"))


def thinner(execution: Execution, number: int) -> Execution | None:
    """A dense layer with a share of its connections, in blocks, by the Triton kernels or by gathering; None where no
    block fits, or where blocks have no kernel (groups, transposed, 3-d)."""
    e = execution
    rng = np.random.Generator(np.random.PCG64([22, number]))
    inputs, outputs = e.weight_shape[1], e.out_channels
    fits = [block for block in _BLOCKS if outputs % block == 0]
    if not fits or inputs < 16 or e.groups > 1 or e.kind not in ("conv2d", "linear"):
        return None
    block = fits[int(rng.integers(len(fits)))]
    density = _DENSITIES[int(rng.integers(len(_DENSITIES)))]
    return sparse_execution(e, "gather" if rng.random() < 0.5 else "direct", density, block)
