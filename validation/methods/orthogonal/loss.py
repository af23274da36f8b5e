"""How far a convolution is from an orthogonal map: exact for circular padding, at any kernel, stride, dilation, groups.

A convolution of M filters over C inputs with stride S is a matrix K on flattened images (doubly block-circulant under
circular padding). Where it has no more rows than columns (M <= S^2 C) its rows can be orthonormal, else its columns.
Wang et al. 2020 (Orthogonal Convolutional Neural Networks) compute both from the kernel alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd, prod
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from advisor.errors import AdvisorError

Side = Literal["row", "column", "smaller"]
SIDES: tuple[Side, ...] = ("row", "column", "smaller")
_CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)


def conv_orthogonality(
    weight: Tensor,
    stride: int | Sequence[int] = 1,
    *,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    side: Side = "row",
    squared: bool = True,
    subtract_minimum: bool = False,
) -> Tensor:
    """||K K^T - I||_F^2 (or of K^T K) per output pixel under circular padding: a scalar with a gradient.

    Exact where the image is a multiple of the stride and at least 2 k - 1 wide, k the dilated kernel. The padding that
    the layer really has does not enter. Rows of different groups never meet, so groups add up.

    Args:
        weight: `M C/groups *k` with one to three axes k (a transposed convolution's stored weight serves as well: its
            matrix is the transpose), or `M C` of a linear layer.
        stride, dilation: one number, or one per axis.
        side: "row" or "column" orthogonality, or that of the smaller Gram matrix. On the same matrix the squared losses
            differ by the constant M - S^2 C (Wang et al. 2020, Lemma 1), so they have one gradient.
        squared: False: the Frobenius norm itself, as the authors' code adds it to the loss. Its gradient at 0 is 0.
        subtract_minimum: takes `minimum` off, so that 0 is the best there can be; for squared losses.

    Raises:
        AdvisorError: a weight, stride or side that does not fit; columns where dilation leaves inputs unread.
    """
    weight, strides, dilations = _checked(weight, stride, dilation, groups)
    if subtract_minimum and not squared:
        raise AdvisorError("orthogonality: subtract_minimum is for squared losses; use squared=True or side='smaller'")
    shape = tuple(weight.shape)
    side = chosen_side(shape, strides, dilation=dilations, groups=groups, side=side)
    if side == "column":
        residual = _column_residual(weight, strides, groups)
    else:
        residual = _row_residual(weight, effective_stride(strides, dilations), groups)
    if not squared:
        # torch's norm has the gradient 0 at 0, where the root of a sum of squares has none
        return torch.linalg.vector_norm(residual)
    loss = residual.square().sum()
    return loss - minimum(shape, strides, dilation=dilations, groups=groups, side=side) if subtract_minimum else loss


def kernel_orthogonality(weight: Tensor, *, groups: int = 1, side: Side = "smaller", squared: bool = True) -> Tensor:
    """||W W^T - I||_F^2 (or of W^T W) of the flattened kernel W `M C/groups*k`, summed over groups: a scalar.

    Necessary for an orthogonal convolution, and sufficient where windows do not overlap (k <= S).
    """
    flat = weight.reshape(groups, weight.shape[0] // groups, -1)
    if side == "column" or (side == "smaller" and flat.shape[1] > flat.shape[2]):
        flat = flat.transpose(1, 2)
    gram = flat @ flat.transpose(1, 2)
    residual = gram - torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    return residual.square().sum() if squared else torch.linalg.vector_norm(residual)


def minimum(
    shape: Sequence[int],
    stride: int | Sequence[int] = 1,
    *,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    side: Side = "row",
) -> int:
    """The least that the squared loss of such a weight can be, by the rank of its matrix.

    Rows: max(0, M - S^2 C) where every input is read (k >= S); inputs that no tap reads count as missing. Kernels that
    reach it exist where `existence` has no objection.
    """
    strides, dilations = _per_axis(stride, shape, "stride"), _per_axis(dilation, shape, "dilation")
    side = chosen_side(shape, strides, dilation=dilations, groups=groups, side=side)
    rows, columns = shape[0] // groups, shape[1] * prod(strides)
    read = shape[1] * prod(map(min, shape[2:], effective_stride(strides, dilations)))
    return groups * ((columns if side == "column" else rows) - min(rows, read))


def chosen_side(
    shape: Sequence[int],
    stride: int | Sequence[int] = 1,
    *,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    side: Side = "smaller",
) -> Literal["row", "column"]:
    """What "smaller" means for this weight; where no column orthogonality exists for want of readers, rows."""
    if side not in SIDES:
        raise AdvisorError(f"orthogonality: got side={side!r}, expected one of {', '.join(SIDES)}")
    strides, dilations = _per_axis(stride, shape, "stride"), _per_axis(dilation, shape, "dilation")
    skipped = effective_stride(strides, dilations) != strides
    if side == "column" and skipped:
        raise AdvisorError(
            f"orthogonality: stride {strides} with dilation {dilations} reads only part of the inputs, so columns "
            "cannot be orthogonal; use side='row'"
        )
    if side == "smaller":
        return "column" if shape[0] // groups > shape[1] * prod(strides) and not skipped else "row"
    return side


def effective_stride(stride: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...]:
    """The stride of the undilated convolution whose windows overlap in the same taps: S / gcd(S, dilation).

    Two windows n strides apart share an input where n S is a multiple of the dilation.
    """
    return tuple(s // gcd(s, d) for s, d in zip(stride, dilation, strict=True))


def _row_residual(weight: Tensor, stride: tuple[int, ...], groups: int) -> Tensor:
    """conv(K, K) - I_r0, `M/groups M *shifts`: inner products of the filters of a group, shifted by whole strides.

    (Wang et al. 2020.) Padding floor((k - 1) / S) S sees every shift at which windows overlap, the shift 0 among them,
    with which a fixed padding of 1 at stride 2 has nothing in common.
    """
    rows = weight.shape[0] // groups
    others = weight.reshape(groups, rows, *weight.shape[1:]).transpose(0, 1).flatten(1, 2)
    padding = tuple((k - 1) // s * s for k, s in zip(weight.shape[2:], stride, strict=True))
    products = _CONVOLUTIONS[len(stride) - 1](others, weight, stride=stride, padding=padding, groups=groups)
    wanted = torch.zeros_like(products)
    centre = tuple(p // s for p, s in zip(padding, stride, strict=True))
    wanted[(slice(None), slice(None), *centre)] = torch.eye(rows, dtype=weight.dtype, device=weight.device).repeat(
        1, groups
    )
    return products - wanted


def _column_residual(weight: Tensor, stride: tuple[int, ...], groups: int) -> Tensor:
    """The same for columns: rows of the transposed convolution, once strides have become channels."""
    phases = polyphase(weight, stride)
    rows = phases.shape[0] // groups
    transposed = phases.reshape(groups, rows, *phases.shape[1:]).transpose(1, 2).flatten(0, 1)
    return _row_residual(transposed, (1,) * len(stride), groups)


def polyphase(weight: Tensor, stride: Sequence[int]) -> Tensor:
    """The kernel `M C prod(S) *ceil(k/S)` of stride 1 that does the same on images cut into phases of the stride."""
    short = [-k % s for k, s in zip(weight.shape[2:], stride, strict=True)]
    padded = F.pad(weight, [size for one in reversed(short) for size in (0, one)])
    axes = len(stride)
    split = [size for k, s in zip(padded.shape[2:], stride, strict=True) for size in (k // s, s)]
    taps, phases = [2 + 2 * axis for axis in range(axes)], [3 + 2 * axis for axis in range(axes)]
    return padded.reshape(*padded.shape[:2], *split).permute(0, 1, *phases, *taps).flatten(1, 1 + axes)


def _checked(
    weight: Tensor, stride: int | Sequence[int], dilation: int | Sequence[int], groups: int
) -> tuple[Tensor, tuple[int, ...], tuple[int, ...]]:
    if weight.dim() == 2:
        weight = weight.unsqueeze(-1)
    if not 3 <= weight.dim() <= 5 or groups < 1 or weight.shape[0] % groups:
        raise AdvisorError(
            f"orthogonality: got a weight of shape {tuple(weight.shape)} in {groups} groups, expected M C/groups and "
            "one to three axes of the kernel, with M a multiple of the groups"
        )
    return weight, _per_axis(stride, weight.shape, "stride"), _per_axis(dilation, weight.shape, "dilation")


def _per_axis(value: int | Sequence[int], shape: Sequence[int], what: str) -> tuple[int, ...]:
    axes = max(len(shape) - 2, 1)
    found = (value,) * axes if isinstance(value, int) else tuple(value) or (1,) * axes  # a linear layer has none
    if len(found) != axes or min(found) < 1:
        raise AdvisorError(
            f"orthogonality: got {what}={value}, expected {axes} numbers of 1 or more for {tuple(shape)}"
        )
    return found
