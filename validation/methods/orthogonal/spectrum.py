"""The singular values of a convolution's matrix under circular padding, one block per frequency.

(Sedghi, Gupta and Long 2019 for stride 1; larger strides by their phases.)
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from advisor.errors import AdvisorError
from validation.methods.orthogonal.loss import polyphase


def singular_values(weight: Tensor, size: int | Sequence[int], stride: int | Sequence[int] = 1) -> Tensor:
    """All singular values of the matrix on circular images, largest first.

    Args:
        weight: `M C *k` without groups or dilation.
        size: of the image, a multiple of the stride; kernels wider than it wrap around.

    Returns:
        prod(size / S) min(M, S^2 C) values.

    Raises:
        AdvisorError: a size that is no multiple of the stride.
    """
    axes = weight.dim() - 2
    sizes = (size,) * axes if isinstance(size, int) else tuple(size)
    strides = (stride,) * axes if isinstance(stride, int) else tuple(stride)
    if any(n % s for n, s in zip(sizes, strides, strict=True)):
        raise AdvisorError(f"singular values: got an image of {sizes} at stride {strides}, expected a multiple of it")
    kernel = polyphase(weight.detach(), strides)
    points = [n // s for n, s in zip(sizes, strides, strict=True)]
    wrapped = kernel.new_zeros(*kernel.shape[:2], *points)
    places = torch.cartesian_prod(*(torch.arange(k) for k in kernel.shape[2:])).reshape(-1, axes)
    for place in places.tolist():
        wrapped[(..., *(p % n for p, n in zip(place, points, strict=True)))] += kernel[(..., *place)]
    blocks = torch.fft.fftn(wrapped, dim=tuple(range(2, 2 + axes))).reshape(*kernel.shape[:2], prod(points))
    return torch.linalg.svdvals(blocks.permute(2, 0, 1)).flatten().sort(descending=True).values
