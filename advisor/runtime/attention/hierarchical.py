"""Hierarchical multi-head self-attention (H-MHSA) as a module of its own, on maps of channels."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from advisor.errors import PatternError
from advisor.runtime.attention.steps import global_attention, local_attention, pooled

NormFactory = Callable[[int], nn.Module]


def group_norm(channels: int) -> nn.Module:
    """The norm of HAT-Net: one group over all channels and positions."""
    return nn.GroupNorm(1, channels, eps=1e-6)


class HierarchicalAttention(nn.Module):
    """Attention inside windows, then of every token to the pooled ones: B C H W → B C H W.

    Liu et al. 2021 (TransCNN / HAT-Net, arXiv 2106.03180), with X the input, G the window and D the pooling:

        Y = norm(X); Q, K, V = 1x1 convolutions of Y
        L = local_norm(X + attention of Q, K, V inside G x G windows)
        A = attention of q(L), HW queries, to k and v of pool_norm(mean over D x D of L)
        out = 1x1 convolution of A + L, then dropout of whole channels

    With G = 1 the local step is left out and the whole is plain attention of the normed input, as in the last stage of
    the published networks; D then has nothing to pool. H and W need not divide by G and D (`steps`).

    Multiply-adds of one image without padding, N = H·W: projections 4NC² + 2(N/D²)C² + NC², products 2NCG² + 2CN²/D².
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int,
        window: int,
        pool: int = 1,
        norm: NormFactory = group_norm,
        dropout: float = 0.0,
    ) -> None:
        """Makes the layers.

        Args:
            channels: C, divisible by `heads`.
            heads: number of heads; each has C / heads dimensions.
            window: G, the side of a window in tokens; 1 for plain attention.
            pool: D, the side of the squares that keys and values are averaged over.
            norm: number of channels → a norm over B C H W.
            dropout: share of whole output channels that are dropped in training.

        Raises:
            PatternError: a number that is no positive integer, or heads that do not divide the channels.
        """
        super().__init__()
        for name, value in (("channels", channels), ("heads", heads), ("window", window), ("pool", pool)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise PatternError(f"hierarchical attention: {name}={value!r}; expected a whole number from 1")
        if channels % heads:
            raise PatternError(f"hierarchical attention: {heads} heads do not divide {channels} channels")
        self.channels, self.heads, self.window, self.pool = channels, heads, window, pool
        self.norm = norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        if window > 1:
            self.local_norm = norm(channels)
            self.pool_norm = norm(channels)
            self.q = nn.Conv2d(channels, channels, 1)
            self.kv = nn.Conv2d(channels, 2 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """B C H W → B C H W."""
        query, key, value = self._heads(self.qkv(self.norm(x)), 3)
        if self.window == 1:
            mixed = self._attend(query, key, value, x)
        else:
            local = local_attention(query, key, value, self.window)
            near = self.local_norm(x + local.flatten(3).permute(0, 3, 1, 2))
            (query,) = self._heads(self.q(near), 1)
            key, value = self._heads(self.kv(self.pool_norm(pooled(near, self.pool))), 2)
            mixed = self._attend(query, key, value, x) + near
        out: Tensor = self.dropout(self.proj(mixed))
        return out

    def _heads(self, x: Tensor, count: int) -> tuple[Tensor, ...]:
        """B (count · C) H W → count maps of B H W heads d. Channels are ordered (which, head, dimension)."""
        batch, _, height, width = x.shape
        split = x.reshape(batch, count, self.heads, self.channels // self.heads, height, width)
        return split.permute(1, 0, 4, 5, 2, 3).unbind(0)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, like: Tensor) -> Tensor:
        mixed = global_attention(query.flatten(1, 2), key.flatten(1, 2), value.flatten(1, 2))
        return mixed.flatten(2).transpose(1, 2).reshape(like.shape)

    def extra_repr(self) -> str:
        return f"channels={self.channels}, heads={self.heads}, window={self.window}, pool={self.pool}"
