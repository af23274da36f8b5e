"""The matrix of a convolution on circular images, written down entry by entry."""

from collections.abc import Sequence
from itertools import product

import torch


def matrix(
    weight: torch.Tensor,
    sizes: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int] | None = None,
    groups: int = 1,
) -> torch.Tensor:
    """K `M H' W' x C H W` for a weight `M C/groups *k` on images of `sizes`."""
    dilation = dilation or (1,) * len(sizes)
    filters, per_group = weight.shape[:2]
    points = [n // s for n, s in zip(sizes, stride, strict=True)]
    found = torch.zeros(filters, *points, per_group * groups, *sizes, dtype=weight.dtype)
    for m, c in product(range(filters), range(per_group)):
        channel = m // (filters // groups) * per_group + c
        for tap in product(*(range(k) for k in weight.shape[2:])):
            for at in product(*(range(n) for n in points)):
                read = [(a * s + t * d) % n for a, s, t, d, n in zip(at, stride, tap, dilation, sizes, strict=True)]
                found[(m, *at, channel, *read)] += weight[(m, c, *tap)]
    rows = filters * len(list(product(*(range(n) for n in points))))
    return found.reshape(rows, -1)


def distance(gram: torch.Tensor, pixels: int) -> float:
    """||gram - I||^2 per output pixel."""
    return float((gram - torch.eye(len(gram), dtype=gram.dtype)).square().sum()) / pixels
