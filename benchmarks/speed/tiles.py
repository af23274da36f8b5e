"""Where a sparse layer's time goes: what a register tile costs for each input that it reads, and what packing costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

import torch

from advisor.devices.measuring.clocks import settle_allocator
from advisor.errors import KernelError
from advisor.runtime import native
from advisor.runtime.native import library
from advisor.runtime.native.job import Job
from advisor.runtime.native.tuning import Layout, Tuning

OUTPUTS = 256
_FEW, _MANY = 8, 32  # inputs that each output reads in the two runs of a tile
_SHAPES = ((64, 56, 3, 1), (256, 14, 3, 1), (128, 56, 3, 2), (256, 14, 1, 1), (2048, 7, 1, 1))


def tiles(peak_gflops: float) -> Iterator[dict[str, object]]:
    """Tiles of outputs x vectors on data that stays in the first cache; times as multiply-adds at the peak.

    A vector multiply-add at the peak is the unit: 1.00 per multiply-add would be the arithmetic limit. The slope over
    the number of inputs is what the inner loop costs, the rest is what every output pays once.
    """
    lanes = _lanes()
    unit = 2 * lanes / peak_gflops / 1e6  # ms of one vector multiply-add
    for outputs, vectors in ((1, 4), (1, 6), (1, 8), (1, 12), (4, 4), (4, 6), (8, 3)):
        tuning = Tuning(lanes=lanes, layout=Layout.COLUMNS, outputs=outputs, vectors=vectors)
        ms = [_best(_job((1, _MANY, 1, vectors * lanes), (1, 1), outputs, kept, tuning)) for kept in (_FEW, _MANY)]
        registers, blocks = outputs * vectors, OUTPUTS // outputs
        slope = (ms[1] - ms[0]) / (_MANY - _FEW) / blocks / unit
        yield {
            "outputs x vectors": f"{outputs} x {vectors}",
            "loads per multiply-add": round((vectors + outputs) / registers, 2),
            "cost per multiply-add": round(slope / registers, 2),
            "once per tile, in multiply-adds": round(ms[0] / blocks / unit - _FEW * slope),
        }


def packing() -> Iterator[dict[str, object]]:
    """The same layers with one kept input per output, which leaves packing and writing, and with a quarter of them."""
    lanes = _lanes()
    for channels, size, kernel, stride in _SHAPES:
        layout = Layout.HALO if kernel > 1 else Layout.COLUMNS
        tuning = Tuning(lanes=lanes, layout=layout, outputs=4, vectors=4)
        shape = (1, channels, size, size)
        some = [_best(_job(shape, (kernel, stride), 16, kept, tuning)) for kept in (1, channels // 4)]
        yield {
            "layer": f"{channels}>{OUTPUTS} {kernel}x{kernel}/{stride} @{size}",
            "packing and writing, ms": round(some[0], 3),
            "d = 0.25, ms": round(some[1], 3),
            "share": f"{some[0] / some[1]:.0%}",
        }


def orders() -> Iterator[dict[str, object]]:
    """The same calls on channels-last inputs, whose bands are transposed on the way in and out."""
    settle_allocator()  # memory for each result that is fresh from the system costs more than the layer
    for channels, size, kernel, stride in _SHAPES:
        lists = torch.stack(
            [torch.randperm(channels)[: channels // 4].sort().values for _ in range(OUTPUTS // 16)]
        ).int()
        indptr = torch.arange(OUTPUTS // 16 + 1, dtype=torch.int32) * (channels // 4)
        weight = torch.randn(lists.numel(), kernel, kernel, 16)
        conv = native.Conv((stride, stride), (kernel // 2, kernel // 2))
        first = torch.randn(1, channels, size, size)
        last = first.contiguous(memory_format=torch.channels_last)
        ms = [
            _best(partial(native.conv_forward, x, weight, indptr, lists.reshape(-1), None, None, "none", conv))
            for x in (first, last)
        ]
        yield {
            "layer": f"{channels}>{OUTPUTS} {kernel}x{kernel}/{stride} @{size}",
            "usual order, ms": round(ms[0], 3),
            "channels last, ms": round(ms[1], 3),
            "ratio": round(ms[1] / ms[0], 2),
        }


def _lanes() -> int:
    return (4, 8, 16)[library.isa_number()]


def _job(
    shape: tuple[int, int, int, int], kernel: tuple[int, int], block: int, kept: int, tuning: Tuning
) -> Callable[[], None]:
    """A call of the compiled code with a tiling of our choice: blocks of outputs that read `kept` inputs each."""
    taps, stride = kernel
    x = torch.randn(shape)
    size = [(n + 2 * (taps // 2) - taps) // stride + 1 for n in shape[2:]]
    y = torch.empty(1, OUTPUTS, *size)
    blocks = OUTPUTS // block
    lists = torch.stack([torch.randperm(shape[1])[:kept].sort().values for _ in range(blocks)]).int()
    indptr, inputs = torch.arange(blocks + 1, dtype=torch.int32) * kept, lists.reshape(-1).contiguous()
    weight = torch.randn(blocks * kept, taps, taps, block)
    job = Job(
        *(*shape, *y.shape[1:], len(inputs)),
        *(*x.stride(), *y.stride()),
        *(taps, taps, stride, stride, -(taps // 2), -(taps // 2), 1, 1, block, blocks, 0, 1),
    )
    tuning.put(job)
    tensors = (x, y, weight, indptr, inputs)

    def call() -> None:
        addresses = (tensor.data_ptr() for tensor in tensors)
        status = library.kernels().forward(job, library.isa_number(), *addresses, 0, 0)
        if status:
            raise KernelError(f"status {status} for {tuning}")

    return call


def _best(call: Callable[[], object]) -> float:
    """The fastest of many calls, in ms: this is about the code, not about what the machine does beside it."""
    best, end = 1e9, time.perf_counter() + 0.15
    while time.perf_counter() < end:
        start = time.thread_time()
        for _ in range(20):
            call()
        best = min(best, (time.thread_time() - start) / 20 * 1e3)
    return best
