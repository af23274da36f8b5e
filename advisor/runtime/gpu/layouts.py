"""How tensors lie in memory and how their values are multiplied: what a launch reads off them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from advisor.runtime.gpu import tuning
from advisor.runtime.layouts import conv_format

_INT32 = 2**31 - 1


def precision(kind: str, dtype: torch.dtype = torch.float32) -> str:
    """How values are multiplied. float32: as torch is told to for the dense layer ("conv" or "linear")."""
    if dtype != torch.float32:
        return "widened" if tuning.interpreted() else "ieee"
    backend: Any = torch.backends.cudnn if kind == "conv" else torch.backends.cuda.matmul
    modern: Any = torch.backends.cudnn.conv if kind == "conv" and hasattr(torch.backends.cudnn, "conv") else backend
    if hasattr(modern, "fp32_precision"):  # torch 2.9; the older flag raises once the two kinds are mixed
        return "tf32" if modern.fp32_precision == "tf32" else "ieee"
    return "tf32" if backend.allow_tf32 else "ieee"


def is_last(tensor: Tensor) -> bool:
    """Whether the channels of (N, C, H, W) lie together: nearer to each other than neighbouring pixels are."""
    pixels = [tensor.stride(axis) for axis in (0, 2, 3) if tensor.shape[axis] > 1]
    return tensor.shape[1] > 1 and tensor.stride(1) < min(pixels, default=_INT32)


def empty(shape: Sequence[int], dtype: torch.dtype, like: Tensor, *, zero: bool = False) -> Tensor:
    """Channels-last where `like`, or what it is a view of, is that and not contiguous as well."""
    made = torch.empty(tuple(shape), dtype=dtype, device=like.device, memory_format=conv_format(like))
    return made.zero_() if zero else made


def flat(*tensors: Tensor | None) -> tuple[Any, ...]:
    """Images as one line of pixels each, where all of them can be without a copy: longer runs for the loads."""
    given = [t for t in tensors if t is not None]
    if not all(t.stride(2) == t.shape[3] * t.stride(3) or 1 in t.shape[2:3] for t in given):
        return tensors
    return tuple(None if t is None else t.as_strided(*_line(t)) for t in tensors)


def _line(t: Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    size = (t.shape[0], t.shape[1], 1, t.shape[2] * t.shape[3])
    return size, (t.stride(0), t.stride(1), size[3] * t.stride(3), t.stride(3))


def is_wide(*tensors: Tensor | None) -> bool:
    """Whether an offset within one of these, or a step beyond its lines where padding is, passes 32 bits."""
    reach = [
        sum((n + (64 if axis >= 2 else 0)) * s for axis, (n, s) in enumerate(zip(t.shape, t.stride(), strict=True)))
        for t in tensors
        if t is not None
    ]
    return max(reach) > _INT32
