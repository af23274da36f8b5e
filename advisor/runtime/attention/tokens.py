"""The same two steps on sequences of image tokens, between the projections that an attention module has already."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from advisor.errors import PatternError
from advisor.runtime.attention.steps import global_attention, local_attention, pooled


class TokenGrid(NamedTuple):
    """Where the tokens of a sequence lie: `prefix` tokens first (a class token), then rows of an image, row by row."""

    height: int
    width: int
    prefix: int = 0

    @property
    def tokens(self) -> int:
        return self.prefix + self.height * self.width


class TokenHierarchy(nn.Module):
    """What hierarchical attention adds to an attention module over tokens: B N C → B N C, before its output projection.

    With Y the module's input (a transformer's block has normed it already) and Q, K, V its projections:

        L = local_norm(Y + attention inside G x G windows); prefix tokens have no window: L = local_norm(Y)
        A = attention of q(L), all N queries, to k and v of pool_norm(prefix tokens and means over D x D of L)
        out = A + L

    The norms are over the channels of each token, as in the transformers that this goes into; Liu et al. 2021 norm
    whole maps. Prefix tokens are queries, keys and values of the global step, unpooled.
    """

    def __init__(
        self, channels: int, *, heads: int, grid: TokenGrid, window: int, pool: int, dropout: float = 0.0
    ) -> None:
        """Makes the new layers: two norms, q (C → C) and kv (C → 2C), with torch's initial values.

        Args:
            channels: C, of the input and of the heads together.
            heads: number of heads.
            grid: where the tokens lie.
            window: G, at least 2.
            pool: D.
            dropout: of the attention weights, in training.
        """
        super().__init__()
        self.heads, self.grid, self.window, self.pool, self.dropout = heads, grid, window, pool, dropout
        self.local_norm = nn.LayerNorm(channels, eps=1e-6)
        self.pool_norm = nn.LayerNorm(channels, eps=1e-6)
        self.q = nn.Linear(channels, channels)
        self.kv = nn.Linear(channels, 2 * channels)

    def forward(self, y: Tensor, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Both steps.

        Args:
            y: B N C, the input of the attention module.
            query: B N heads d; `key` and `value` likewise.

        Returns:
            B N C.

        Raises:
            PatternError: another number of tokens than the grid has.
        """
        batch, tokens, channels = y.shape
        if tokens != self.grid.tokens:
            raise PatternError(
                f"hierarchical attention got {tokens} tokens, expected {self.grid.tokens} ({self.grid.prefix} and "
                f"{self.grid.height}x{self.grid.width}); plan again for inputs of this size"
            )
        drop = self.dropout if self.training else 0.0
        q, k, v = (
            part[:, self.grid.prefix :].reshape(batch, self.grid.height, self.grid.width, self.heads, -1)
            for part in (query, key, value)
        )
        local = local_attention(q, k, v, self.window, dropout=drop).reshape(batch, -1, channels)
        image = y[:, self.grid.prefix :] + local
        near: Tensor = self.local_norm(torch.cat((y[:, : self.grid.prefix], image), 1) if self.grid.prefix else image)
        made = self.kv(self.pool_norm(self._pooled(near)))
        keys, values = made.reshape(batch, -1, 2, self.heads, channels // self.heads).unbind(2)
        queries = self.q(near).reshape(batch, tokens, self.heads, -1)
        return global_attention(queries, keys, values, dropout=drop).reshape(batch, tokens, channels) + near

    def _pooled(self, near: Tensor) -> Tensor:
        """B N C → B (prefix + pooled positions) C."""
        prefix, image = near[:, : self.grid.prefix], near[:, self.grid.prefix :].transpose(1, 2)
        means = pooled(image.reshape(*image.shape[:2], self.grid.height, self.grid.width), self.pool)
        flat = means.flatten(2).transpose(1, 2)
        return torch.cat((prefix, flat), 1) if self.grid.prefix else flat

    def extra_repr(self) -> str:
        return f"heads={self.heads}, grid={tuple(self.grid)}, window={self.window}, pool={self.pool}"
