"""What the sparse kernels take: planes of packed input and a tile's sums, which each thread keeps, and lists turned
round for the gradient of the input, which it gives back.

The numbers repeat `advisor/runtime/native/src` (`panel.h`, `bands.h`, `forward.h`, `gradient.h`) for the tiling that is
chosen by rule; another one, which the tuner may find faster, packs other amounts, bounded by the same cache sizes.
"""

from __future__ import annotations

from math import prod
from typing import Any

from advisor.devices.memory.scratch import Call, Scratch, nbytes, rule
from advisor.runtime.native import library, tuning
from advisor.runtime.native.job import Job
from advisor.runtime.native.tuning import Kernel, Layout, Tuning

_PANEL_BYTES = 640 << 10  # Bands::kPanelBytes
_COPY_BYTES = 16  # sizeof(Copy)
_TAP_BYTES = 4096  # sizeof Planes::tap_plane
_ONE: tuple[int, int] = (1, 1)


@rule("advisor.sparse_conv2d.default")
def _conv(call: Call) -> Scratch:
    return _forward(call.args["x"], call.outputs[0], call.args)


@rule("advisor.sparse_linear.default")
def _linear(call: Call) -> Scratch:
    return _forward(_image(call.args["x"]), _image(call.outputs[0]), _taps(call.args))


@rule("advisor.sparse_conv2d_grad_input.default")
def _conv_input(call: Call) -> Scratch:
    return _grad_input(call.outputs[0], call.args["grad"], call.args)


@rule("advisor.sparse_linear_grad_input.default")
def _linear_input(call: Call) -> Scratch:
    return _grad_input(_image(call.outputs[0]), _image(call.args["grad"]), _taps(call.args))


@rule("advisor.sparse_conv2d_grad_weight.default")
def _conv_weight(call: Call) -> Scratch:
    return _grad_weight(call.args["x"], call.args["grad"], call.outputs[0], call.args)


@rule("advisor.sparse_linear_grad_weight.default")
def _linear_weight(call: Call) -> Scratch:
    weight = call.outputs[0].unsqueeze(1).unsqueeze(1)
    return _grad_weight(_image(call.args["x"]), _image(call.args["grad"]), weight, _taps(call.args))


def _forward(x: Any, y: Any, args: Any) -> Scratch:
    if (unknown := _elsewhere(x)) is not None:
        return unknown
    job = _job(x, y, args["weight"], args)
    return Scratch(kept=_kept(job, next(iter(tuning.candidates(job, library.isa_number())))))


def _grad_input(x: Any, grad: Any, args: Any) -> Scratch:
    if (unknown := _elsewhere(x)) is not None:
        return unknown
    weight = args["weight"]
    job = _job(x, grad, weight, args)
    turned = tuning.reversed_job(job)
    kept = _kept(turned, next(iter(tuning.candidates(turned, library.isa_number()))))
    connections = weight.shape[0] * weight.shape[-1]
    lists = 4 * connections + 4 * weight.shape[0] + 8 * x.shape[1]
    phase = nbytes(weight) * turned.taps_h * turned.taps_w // prod(weight.shape[1:3])
    return Scratch(inside=nbytes(x) + lists + phase, kept=kept)


def _grad_weight(x: Any, grad: Any, weight: Any, args: Any) -> Scratch:
    if (unknown := _elsewhere(x)) is not None:
        return unknown
    job = _job(x, grad, weight, args)
    return Scratch(kept=_kept(job, next(iter(tuning.gradient_candidates(job, library.isa_number()))), gradient=True))


def _elsewhere(x: Any) -> Scratch | None:
    if x.device.type != "cpu":
        return Scratch(unknown="what Triton's kernels of sparse layers take")
    if not library.available():
        return Scratch(unknown="the dense weight that sparse layers fill in where no kernels are")
    return None


def _image(x: Any) -> Any:
    """(M, C) as the kernels see it: one image of M positions in a row, channels last."""
    return x.t().unsqueeze(0).unsqueeze(2)


def _taps(args: Any) -> dict[str, Any]:
    made = {**args, "stride": _ONE, "padding": (0, 0), "dilation": _ONE}
    if "weight" in args:
        made["weight"] = args["weight"].unsqueeze(1).unsqueeze(1)
    return made


def _job(x: Any, y: Any, weight: Any, args: Any) -> Job:
    import torch

    stride, padding, dilation = args["stride"], args["padding"], args["dilation"]
    rows, taps_h, taps_w, block = weight.shape
    return Job(
        *x.shape,
        *y.shape[1:],
        rows,
        *x.stride(),
        *y.stride(),
        taps_h,
        taps_w,
        *stride,
        -padding[0],
        -padding[1],
        *dilation,
        block,
        args["indptr"].shape[0] - 1,
        0,
        torch.get_num_threads(),
    )


def _kept(job: Job, tile: Tuning, *, gradient: bool = False) -> dict[str, int]:
    """Buffer → bytes, of all threads together."""
    if tile.layout == Layout.FEW or 0 in (job.images, job.out_h, job.out_w):
        return {}
    threads = max(job.threads, 1)
    panel, copies, positions = _band(job, tile)
    found = {"copies": copies, "taps": _TAP_BYTES} if panel else {}
    found["panel"] = panel
    outputs = job.block * job.blocks
    if gradient:
        found["gradient"] = 4 * outputs * _up(positions, tile.lanes) // threads
        found["list"] = 8 * (job.kept // max(job.blocks, 1) * job.taps_h * job.taps_w + 1)
    else:
        whole = job.y_col == 1 and (tile.kernel == Kernel.ROWS or _pitch(job, tile) == job.out_w)
        if tile.chunks > 1 or not whole:
            found["sums"] = 4 * outputs * tile.vectors * tile.lanes * (tile.rows if tile.kernel == Kernel.ROWS else 1)
    return {name: threads * _up(size, 4096) for name, size in found.items() if size}


def _pitch(job: Job, tile: Tuning) -> int:
    wide = job.out_w + ((job.taps_w - 1) * job.step_w // job.stride_w if tile.layout == Layout.HALO else 0)
    return _up(wide, tile.lanes) if tile.kernel == Kernel.ROWS else wide


def _band(job: Job, tile: Tuning) -> tuple[int, int, int]:
    """Bytes of the packed planes of one band and of the list of copies that fill them, and its output positions."""
    pixels = job.out_h * job.out_w
    if tile.layout == Layout.IN_PLACE:
        return 0, 0, tile.vectors * tile.lanes
    if tile.layout == Layout.COLUMNS:
        width, taps = tile.vectors * tile.lanes, job.taps_h * job.taps_w
        width = min(width, _up(job.images * pixels, tile.lanes))
        panel = 4 * (job.in_channels * taps * width + 16 * tile.lanes)
        return panel, _COPY_BYTES * (2 * taps * (width + 2) + 1), width
    out_h, out_w, taps_h, taps_w = job.out_h, job.out_w, job.taps_h, job.taps_w
    step_h, step_w, stride_h, stride_w = job.step_h, job.step_w, job.stride_h, job.stride_w
    if tile.swapped:
        out_h, out_w, taps_h, taps_w = out_w, out_h, taps_w, taps_h
        step_h, step_w, stride_h, stride_w = step_w, step_h, stride_w, stride_h
    rows_of_taps = {ky * step_h % stride_h for ky in range(taps_h)}
    across = {kx * step_w % stride_w for kx in range(taps_w)} if tile.layout == Layout.HALO else set(range(taps_w))
    planes, extra = len(rows_of_taps) * len(across), (taps_h - 1) * step_h // stride_h
    pitch = out_w + ((taps_w - 1) * step_w // stride_w if tile.layout == Layout.HALO else 0)
    pitch = _up(pitch, tile.lanes) if tile.kernel == Kernel.ROWS else pitch
    least = tile.rows if tile.kernel == Kernel.ROWS else 1 + extra
    fit = max(_PANEL_BYTES // (4 * job.in_channels * planes * pitch) - extra, least)
    bands = -(-out_h // fit)
    if bands > out_h // least and out_h >= least:
        bands = out_h // least
    bands = max(min(bands, out_h), 1)
    rows = -(-out_h // bands)
    stride = _up((rows + extra) * pitch, tile.lanes) * planes
    panel = 4 * (job.in_channels * (stride + 16) + 16 * tile.lanes)
    return panel, _COPY_BYTES * (2 * planes * (rows + extra) + 1), rows * out_w


def _up(size: int, unit: int) -> int:
    return -(-size // unit) * unit
