"""The steps of hierarchical attention as functions of maps of tokens, `B H W heads d`.

The heads stand last but one, so that a projection of tokens and a 1x1 convolution with its channels moved to the end
both arrive here as views.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def window_of(height: int, width: int, window: int) -> tuple[int, int]:
    """The window's sides: a map smaller than the window is one window, and nothing is padded to fill it."""
    return min(window, height), min(window, width)


def local_attention(query: Tensor, key: Tensor, value: Tensor, window: int, *, dropout: float = 0.0) -> Tensor:
    """Softmax attention inside windows of `window` x `window` tokens (Liu et al. 2021, H-MHSA, first step).

    Maps that the window does not divide are padded at their lower and right edge; padded tokens are masked, so no real
    token sees one. The scale is d^-1/2.

    Args:
        query: B H W heads d; `key` and `value` likewise.
        window: the side G of a window; a map that is smaller is a single window.
        dropout: of the attention weights.

    Returns:
        B H W heads d.
    """
    height, width = query.shape[1], query.shape[2]
    sides = window_of(height, width, window)
    below, right = -height % sides[0], -width % sides[1]
    q, k, v = (_windows(F.pad(part, (0, 0, 0, 0, 0, right, 0, below)), sides) for part in (query, key, value))
    mask = None
    if below or right:
        real = _real(height, width, sides, below, right, query.device)
        mask = real.repeat(query.shape[0], 1)[:, None, None, :]
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
    return _map(mixed, query.shape[0], height + below, width + right, sides)[:, :height, :width]


def global_attention(query: Tensor, key: Tensor, value: Tensor, *, dropout: float = 0.0) -> Tensor:
    """Softmax attention of every query to every key: B N heads d against B M heads d → B N heads d."""
    q, k, v = (part.transpose(1, 2) for part in (query, key, value))
    return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout).transpose(1, 2)


def pooled(x: Tensor, pool: int) -> Tensor:
    """B C H W → B C ⌈H/D⌉ ⌈W/D⌉: means of D x D positions, at the edges of those that are there."""
    if pool == 1:
        return x
    return F.avg_pool2d(x, pool, ceil_mode=True, count_include_pad=False)


def _windows(x: Tensor, sides: tuple[int, int]) -> Tensor:
    """B H W heads d → (B · windows) heads (tokens of a window) d."""
    batch, height, width, heads, size = x.shape
    rows, columns = sides
    split = x.reshape(batch, height // rows, rows, width // columns, columns, heads, size)
    return split.permute(0, 1, 3, 5, 2, 4, 6).reshape(-1, heads, rows * columns, size)


def _map(x: Tensor, batch: int, height: int, width: int, sides: tuple[int, int]) -> Tensor:
    """The reverse of `_windows`."""
    rows, columns = sides
    split = x.reshape(batch, height // rows, width // columns, x.shape[1], rows, columns, x.shape[3])
    return split.permute(0, 1, 4, 2, 5, 3, 6).reshape(batch, height, width, x.shape[1], x.shape[3])


def _real(height: int, width: int, sides: tuple[int, int], below: int, right: int, device: torch.device) -> Tensor:
    """(windows, tokens of a window) bool: which tokens of the padded map are real."""
    there = torch.ones((1, height, width, 1, 1), dtype=torch.bool, device=device)
    return _windows(F.pad(there, (0, 0, 0, 0, 0, right, 0, below)), sides).flatten(1)
