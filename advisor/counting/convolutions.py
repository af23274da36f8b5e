"""Convolutions of every kind: 1d to 3d, transposed, grouped, dilated, deformable."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from advisor.counting.work import Arguments, Work, counts
from advisor.network import Shape, Value


def _full(value: Any, rank: int) -> tuple[int, ...]:
    """Strides and the like: an integer or a one-element list stands for every axis."""
    sizes = tuple(value) if isinstance(value, tuple) else (int(value),)
    return tuple(int(size) for size in (sizes * rank if len(sizes) == 1 else sizes))


def _conv_work(
    x: Shape, weight: Value, out: Shape, *, transposed: bool, bias: bool, groups: int, **geometry: Any
) -> Work:
    rank = len(weight.shape) - 2
    taps = prod(weight.shape[2:])
    # N · C_out · H_out · W_out · C_in/g · taps; transposed, every input pixel meets every tap:
    # N · C_in · H_in · W_in · C_out/g · taps
    macs = prod(x if transposed else out) * weight.shape[1] * taps
    sizes = {name: _full(value, rank) for name, value in geometry.items() if name != "padding"}
    padding = geometry["padding"]
    if isinstance(padding, str):  # "same" or "valid"
        kernel = weight.shape[2:]
        same = tuple(d * (k - 1) // 2 for d, k in zip(sizes["dilation"], kernel, strict=True))
        padding = same if padding == "same" else (0,)
    return Work(
        kind=f"conv{'_transpose' if transposed else ''}{rank}d",
        macs=macs,
        input_shape=x,
        output_shape=out,
        weight=weight.index,
        bias=bias,
        groups=groups,
        stride=sizes["stride"],
        padding=_full(padding, rank),
        dilation=sizes["dilation"],
        output_padding=sizes.get("output_padding", ()),
    )


@counts("aten.conv1d", "aten.conv2d", "aten.conv3d")
def _conv(a: Arguments, values: Sequence[Value], outs: Sequence[Shape]) -> list[Work]:
    weight = values[a["weight"].index]
    return [
        _conv_work(
            values[a["input"].index].shape, weight, outs[0], transposed=False, bias=a["bias"] is not None,
            groups=a["groups"], stride=a["stride"], padding=a["padding"], dilation=a["dilation"],
        )
    ]  # fmt: skip


@counts("aten.conv_transpose1d", "aten.conv_transpose2d", "aten.conv_transpose3d")
def _conv_transpose(a: Arguments, values: Sequence[Value], outs: Sequence[Shape]) -> list[Work]:
    weight = values[a["weight"].index]
    return [
        _conv_work(
            values[a["input"].index].shape, weight, outs[0], transposed=True, bias=a["bias"] is not None,
            groups=a["groups"], stride=a["stride"], padding=a["padding"], dilation=a["dilation"],
            output_padding=a["output_padding"],
        )
    ]  # fmt: skip


@counts(
    "aten.convolution",
    "aten._convolution",
    "aten.convolution_overrideable",
    "aten.cudnn_convolution",
    "aten.mkldnn_convolution",
)
def _any_convolution(a: Arguments, values: Sequence[Value], outs: Sequence[Shape]) -> list[Work]:
    x = values[a.get("input", a.get("self")).index].shape
    extra = {"output_padding": a["output_padding"]} if a.get("transposed") else {}
    return [
        _conv_work(
            x, values[a["weight"].index], outs[0], transposed=bool(a.get("transposed", False)),
            bias=a.get("bias") is not None, groups=a["groups"], stride=a["stride"], padding=a["padding"],
            dilation=a["dilation"], **extra,
        )
    ]  # fmt: skip


@counts("torchvision.deform_conv2d")
def _deformable(a: Arguments, values: Sequence[Value], outs: Sequence[Shape]) -> list[Work]:
    # The products are those of the plain convolution; reading at fractional places is not counted.
    return [
        _conv_work(
            values[a["input"].index].shape, values[a["weight"].index], outs[0], transposed=False, bias=True,
            groups=a["groups"], stride=(a["stride_h"], a["stride_w"]), padding=(a["pad_h"], a["pad_w"]),
            dilation=(a["dilation_h"], a["dilation_w"]),
        )
    ]  # fmt: skip
