"""How a job may be tiled: every choice gives the same sums, in another order and at another speed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum

from advisor.runtime.native.job import Job

_FIRST_CACHE_BYTES = 24 << 10  # of 32 KiB: what a tile reads should stay there
_MOST_BAND_BYTES = 32 << 20  # each thread keeps the memory of its largest band
_FEW_POSITIONS = 8  # up to which vectors along the positions may not pay
_LANES = ((4,), (8,), (16, 8))  # by instruction set
_REGISTERS = (16, 16, 32)
# Tiles of rows x vectors that are compiled, by vertical taps and stride.
_ROWS = {
    (3, 1): ((14, 1), (8, 2), (6, 4), (5, 5), (6, 3), (7, 2), (7, 1), (8, 1), (4, 4), (4, 2), (4, 1), (2, 1), (1, 1)),
    (3, 2): ((14, 1), (7, 2), (7, 1), (4, 2), (4, 1), (1, 1)),
    (5, 1): ((4, 4), (8, 1), (4, 1), (1, 1)),
    (7, 1): ((6, 3), (8, 2), (6, 1), (8, 1), (4, 1), (1, 1)),
}


class Layout(IntEnum):
    IN_PLACE = 0
    COLUMNS = 1
    SHIFTED = 2
    HALO = 3
    FEW = 4


class Kernel(IntEnum):
    LIST = 0
    ROWS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """The fields of the same names in a job.

    Attributes:
        lanes: floats in a vector.
        layout: how the input is packed.
        kernel: which register tile: `outputs` x `vectors` (LIST), or `rows` x `vectors` of one output (ROWS).
        chunks: parts that each list of inputs is cut into, so that what one part reads stays in the first cache.
        splits: parts of the outputs that threads share.
        swapped: height and width exchanged, so that the taps of a 1x7 kernel stand above one another.
    """

    lanes: int
    layout: Layout
    kernel: Kernel = Kernel.LIST
    outputs: int = 1
    vectors: int = 1
    rows: int = 1
    chunks: int = 1
    splits: int = 1
    swapped: bool = False

    def put(self, job: Job) -> None:
        """Writes the values into a job."""
        job.lanes, job.layout, job.kernel = self.lanes, self.layout, self.kernel
        job.outputs, job.vectors, job.rows = self.outputs, self.vectors, self.rows
        job.chunks, job.splits, job.swapped = self.chunks, self.splits, self.swapped


def reads_in_place(job: Job) -> bool:
    """Whether the kernels can read this job's input where it lies: one tap, stride 1, rows without gaps."""
    return (
        job.taps_h * job.taps_w == 1
        and job.stride_h == job.stride_w == 1
        and job.first_h == job.first_w == 0
        and job.x_col == 1
        and job.x_row == job.in_w
        and (job.in_h, job.in_w) == (job.out_h, job.out_w)
    )


def candidates(job: Job, isa: int) -> Iterator[Tuning]:
    """The tiles worth measuring, the likeliest first."""
    splits = _splits(job, isa)
    for tuning in dict.fromkeys(_tiles(job, isa)):
        if _band_bytes(job, tuning) <= _MOST_BAND_BYTES:
            yield replace(tuning, splits=splits)


def refinements(job: Job, best: Tuning) -> Iterator[Tuning]:
    """The best tile with its lists in other numbers of parts, and with its input packed otherwise."""
    if best.layout == Layout.FEW:
        return
    if best.kernel == Kernel.ROWS:
        other = Layout.HALO if best.layout == Layout.SHIFTED else Layout.SHIFTED
        yield replace(best, layout=other)
    for size in (_FIRST_CACHE_BYTES, 2 * _FIRST_CACHE_BYTES, 8 * _FIRST_CACHE_BYTES):
        chunks = min(16, max(1, round(_strip_bytes(job, best) / size)))
        if chunks != best.chunks:
            yield replace(best, chunks=chunks)


def _strip_bytes(job: Job, tuning: Tuning) -> int:
    """What one tile reads of the packed input."""
    taps_h, taps_w = (job.taps_w, job.taps_h) if tuning.swapped else (job.taps_h, job.taps_w)
    across = tuning.vectors * tuning.lanes
    if tuning.kernel == Kernel.ROWS:
        copies = taps_w if tuning.layout == Layout.SHIFTED else job.stride_w
        return int(4 * job.in_channels * across * copies * (tuning.rows * job.stride_h + taps_h - 1))
    planes = taps_h * taps_w if tuning.layout == Layout.COLUMNS else taps_w + taps_h
    return int(4 * job.in_channels * across * planes)


def _band_bytes(job: Job, tuning: Tuning) -> int:
    """What a thread packs at once, where that is whole rows: on long lines of pixels, all of the input and more."""
    if tuning.layout in (Layout.IN_PLACE, Layout.COLUMNS, Layout.FEW):
        return 0
    taps_h, step_h, stride_h, taps_w, step_w, stride_w, across = (
        (job.taps_w, job.step_w, job.stride_w, job.taps_h, job.step_h, job.stride_h, job.out_h)
        if tuning.swapped
        else (job.taps_h, job.step_h, job.stride_h, job.taps_w, job.step_w, job.stride_w, job.out_w)
    )
    rows = tuning.rows + (taps_h - 1) * step_h // stride_h
    planes = min(taps_h, stride_h) * (taps_w if tuning.layout == Layout.SHIFTED else min(taps_w, stride_w))
    columns = across + (0 if tuning.layout == Layout.SHIFTED else (taps_w - 1) * step_w // stride_w)
    return int(4 * job.in_channels * planes * rows * columns)


def _splits(job: Job, isa: int) -> int:
    """Parts of the outputs: one where the positions alone keep every thread busy."""
    if job.threads <= 1:
        return 1
    bands = job.images * max(1, job.out_h * job.out_w // (6 * _LANES[isa][0]))
    return 1 if bands >= 8 * job.threads else 2 * job.threads


def _tiles(job: Job, isa: int) -> Iterator[Tuning]:
    lanes = _LANES[isa]
    one_tap = job.taps_h * job.taps_w == 1
    pixels = job.out_h * job.out_w
    if one_tap and job.images * pixels <= _FEW_POSITIONS:
        yield Tuning(lanes=lanes[0], layout=Layout.FEW, vectors=1)
    if job.block % 4 == 0:
        wide = _REGISTERS[isa] == 32
        shapes = [(4, 6), (8, 3), (4, 5), (4, 4), (8, 2)] if wide else [(4, 2), (4, 3), (8, 1)]
    else:
        yield from _single(job, isa)
        return
    for outputs, vectors in shapes:
        if job.block % outputs:
            continue
        for width in lanes:
            if reads_in_place(job) and pixels >= width * vectors:
                yield Tuning(lanes=width, layout=Layout.IN_PLACE, outputs=outputs, vectors=vectors)
            if one_tap:
                yield Tuning(lanes=width, layout=Layout.COLUMNS, outputs=outputs, vectors=vectors)
            else:
                for layout in (Layout.HALO, Layout.SHIFTED, Layout.COLUMNS):
                    yield Tuning(lanes=width, layout=layout, outputs=outputs, vectors=vectors)


def _single(job: Job, isa: int) -> Iterator[Tuning]:
    """For one output at a time: what it loads is used once, or once for each vertical tap."""
    lanes = _LANES[isa]
    if job.block == 1:
        yield from _rows(job, isa, swapped=False)
        if job.taps_h == 1:
            yield from _rows(job, isa, swapped=True)
    for width in lanes:
        for vectors in (8, 6, 12, 4) if _REGISTERS[isa] == 32 else (8, 12, 6):
            tile = Tuning(lanes=width, layout=Layout.COLUMNS, vectors=vectors)
            yield replace(tile, chunks=min(16, max(1, round(_strip_bytes(job, tile) / (2 * _FIRST_CACHE_BYTES)))))


def _rows(job: Job, isa: int, *, swapped: bool) -> Iterator[Tuning]:
    taps, stride, step, height, width = job.taps_h, job.stride_h, job.step_h, job.out_h, job.out_w
    if swapped:
        taps, stride, step, height, width = job.taps_w, job.stride_w, job.step_w, job.out_w, job.out_h
    if step != 1:
        return
    for lanes in _LANES[isa]:
        if 4 * width <= lanes:
            continue  # nearly all of every vector would be thrown away
        for rows, vectors in _ROWS.get((taps, stride), ()):
            if vectors <= -(-width // lanes) and rows <= height and rows * vectors < _REGISTERS[isa] - taps:
                yield Tuning(
                    lanes=lanes,
                    layout=Layout.SHIFTED,
                    kernel=Kernel.ROWS,
                    rows=rows,
                    vectors=vectors,
                    swapped=swapped,
                )


def gradient_candidates(job: Job, isa: int) -> Iterator[Tuning]:
    """For the gradient of the weight: how many positions a band has, and whether vertical taps share planes."""
    lanes = _LANES[isa][0]
    shifted = Tuning(lanes=lanes, layout=Layout.SHIFTED, vectors=1)
    if job.taps_h * job.taps_w > 1 and _band_bytes(job, shifted) <= _MOST_BAND_BYTES:
        yield shifted
    for vectors in (16, 32, 8):
        yield Tuning(lanes=lanes, layout=Layout.COLUMNS, vectors=vectors)


def reversed_job(job: Job) -> Job:
    """The convolution that makes the gradient of the input, as far as tiling is concerned."""
    found = Job.from_buffer_copy(job)
    found.in_channels, found.out_channels = job.out_channels, job.in_channels
    found.in_h, found.in_w, found.out_h, found.out_w = job.out_h, job.out_w, job.in_h, job.in_w
    for axis in ("image", "channel", "row", "col"):
        setattr(found, f"x_{axis}", getattr(job, f"y_{axis}"))
    found.block, found.blocks = 1, job.in_channels
    if job.stride_h == job.stride_w == 1:
        found.first_h = -(job.taps_h - 1) * job.step_h - job.first_h
        found.first_w = -(job.taps_w - 1) * job.step_w - job.first_w
    else:
        found.out_h, found.out_w = -(-job.in_h // job.stride_h), -(-job.in_w // job.stride_w)
        found.taps_h, found.taps_w = -(-job.taps_h // job.stride_h), -(-job.taps_w // job.stride_w)
        found.stride_h = found.stride_w = 1
        found.first_h = found.first_w = -1  # not read in place
    return found
