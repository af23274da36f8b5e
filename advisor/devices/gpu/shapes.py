"""Layers as columns of integers, so that thousands of them are computed at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from advisor.devices.gpu.facts import ITEM_BYTES

if TYPE_CHECKING:
    from advisor.runtime.execution import Execution

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """R layers; every attribute is (R,) float64, whole numbers throughout.

    Attributes:
        n: images, or rows of a linear layer.
        c_in, c_out: channels of all groups together.
        h, w: of the input.
        kh, kw, stride, stride_w, padding, padding_w: of the kernel; dilation counts as a larger kernel nowhere.
        oh, ow: of the output.
        groups: of which each has c_in / groups inputs.
        item: bytes of one element.
        tensor: 1 where the layer's dtype runs on tensor cores (where the GPU has them), 0 for plain float32.
        conv: 1 for convolutions, 0 for linear layers.
    """

    n: Array
    c_in: Array
    c_out: Array
    h: Array
    w: Array
    kh: Array
    kw: Array
    stride: Array
    stride_w: Array
    padding: Array
    padding_w: Array
    oh: Array
    ow: Array
    groups: Array
    item: Array
    tensor: Array
    conv: Array

    def __len__(self) -> int:
        return len(self.n)

    def __getitem__(self, rows: Any) -> Shapes:
        return Shapes(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @property
    def rows(self) -> Array:
        """(R,) rows of the product that the layer is: output positions of all images."""
        return np.asarray(self.n * self.oh * self.ow)

    @property
    def depth(self) -> Array:
        """(R,) how many products each output sums."""
        return np.asarray(self.c_in / self.groups * self.kh * self.kw)

    @property
    def macs(self) -> Array:
        return np.asarray(self.rows * self.c_out * self.depth)

    @property
    def input_bytes(self) -> Array:
        return np.asarray(self.n * self.c_in * self.h * self.w * self.item)

    @property
    def weight_bytes(self) -> Array:
        return np.asarray(self.c_out * self.depth * self.item)

    @property
    def output_bytes(self) -> Array:
        return np.asarray(self.rows * self.c_out * self.item)

    def identities(self) -> list[tuple[float, ...]]:
        """What makes two rows one shape: everything but the number of images, so that batches stay together."""
        names = [f.name for f in fields(self) if f.name != "n"]
        columns = np.column_stack([getattr(self, name) for name in names])
        linear = self.conv == 0
        columns[linear, names.index("h")] = 0  # a linear layer's rows are its images
        return [tuple(row) for row in columns.tolist()]


def from_rows(rows: Sequence[dict[str, Any]]) -> Shapes:
    """Rows with the columns of a measurement table (see `table`) as shapes; output sizes are computed."""
    names = ("n", "c_in", "c_out", "h", "w", "kh", "kw", "stride", "stride_w", "padding", "padding_w", "groups")
    columns = {name: np.array([float(row[name]) for row in rows]) for name in names}
    item = np.array([float(ITEM_BYTES[row["dtype"]]) for row in rows])
    tensor = np.array([float(row["dtype"] not in ("float32", "float64")) for row in rows])
    conv = np.array([float(row["kind"] != "linear") for row in rows])
    oh = (columns["h"] + 2 * columns["padding"] - columns["kh"]) // columns["stride"] + 1
    ow = (columns["w"] + 2 * columns["padding_w"] - columns["kw"]) // columns["stride_w"] + 1
    return Shapes(**columns, oh=oh, ow=ow, item=item, tensor=tensor, conv=conv)


def from_executions(executions: Sequence[Execution], dtype: str) -> Shapes:
    """Executions as dense shapes: a 1-d convolution has height 1, the depth of a 3-d one is taken into n and c_in."""
    return from_rows([_row(e) | {"dtype": dtype} for e in executions])


def _row(e: Execution) -> dict[str, Any]:
    if e.kind == "linear":
        plain = dict.fromkeys(("h", "w", "kh", "kw", "stride", "stride_w", "groups"), 1)
        return {
            "kind": "linear", "n": max(prod(e.input_shape[:-1]), 1), "c_in": e.in_channels, "c_out": e.out_channels,
            **plain, "padding": 0, "padding_w": 0,
        }  # fmt: skip
    rank = len(e.stride)
    given, kernel = e.input_shape[-rank:], e.weight_shape[2:]
    if e.transposed:
        # The same product as the gradient of a convolution from the large to the small side.
        given = e.output_shape[-rank:]
    # A dilated kernel skips what a smaller input would not have.
    sizes = [max(n - (d - 1) * (k - 1), 1) for n, d, k in zip(given, e.dilation, kernel, strict=True)]
    axes = list(zip(sizes, kernel, e.stride, e.padding, strict=True))
    folded, taps = 1, 1
    if rank == 3:  # positions along depth count as images, taps along depth as channels
        size, taps, stride, padding = axes.pop(0)
        folded = (size + 2 * padding - taps) // stride + 1
    (h, kh, sh, ph), (w, kw, sw, pw) = [(1, 1, 1, 0)] * (2 - len(axes)) + axes
    channels = (e.out_channels, e.in_channels) if e.transposed else (e.in_channels, e.out_channels)
    batch = folded * prod(e.input_shape[: -rank - 1])
    return {
        "kind": "conv2d", "n": max(batch, 1), "c_in": channels[0] * taps, "c_out": channels[1], "h": h, "w": w,
        "kh": kh, "kw": kw, "stride": sh, "stride_w": sw, "padding": ph, "padding_w": pw, "groups": e.groups,
    }  # fmt: skip
