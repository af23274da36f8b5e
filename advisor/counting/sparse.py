"""The sparse kernels: what they multiply is their weight, once for every place of the output."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from advisor.counting.work import Arguments, Work, counts
from advisor.network import Shape, Value


@counts("advisor.sparse_conv2d")
def _sparse_conv(a: Arguments, values: Sequence[Value], outs: Sequence[Shape]) -> list[Work]:
    # N · H_out · W_out · rows · taps · B
    out, weight = outs[0], values[a["weight"].index]
    return [
        Work(
            kind="sparse_conv2d",
            macs=out[0] * prod(out[2:]) * prod(weight.shape),
            input_shape=values[a["x"].index].shape,
            output_shape=out,
            weight=weight.index,
            bias=a["bias"] is not None,
            stride=tuple(a["stride"]),
            padding=tuple(a["padding"]),
            dilation=tuple(a["dilation"]),
        )
    ]


@counts("advisor.sparse_linear")
def _sparse_linear(a: Arguments, values: Sequence[Value], outs: Sequence[Shape]) -> list[Work]:
    # M · rows · B
    weight = values[a["weight"].index]
    return [
        Work(
            kind="sparse_linear",
            macs=outs[0][0] * prod(weight.shape),
            input_shape=values[a["x"].index].shape,
            output_shape=outs[0],
            weight=weight.index,
            bias=a["bias"] is not None,
        )
    ]
