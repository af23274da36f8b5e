"""Attention modules that become hierarchical where they stand: their projections stay, under the same names."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from advisor.errors import PatternError
from advisor.patterns.hierarchical import AttentionShape
from advisor.runtime.attention.sites import kind_of
from advisor.runtime.attention.tokens import TokenGrid, TokenHierarchy

ADDED = "hierarchy"  # the name of what is added to an attention module


class HierarchicalMultihead(nn.MultiheadAttention):
    """nn.MultiheadAttention with `TokenHierarchy` between its projections; made by `make_hierarchical`.

    It attends to its own input alone, takes no masks and has no single matrix of weights to return.
    """

    hierarchy: TokenHierarchy

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, None]:
        """B N C (N B C without batch_first) three times, which must be one tensor → the same shape, and None."""
        if key is not query or value is not query:
            raise PatternError("hierarchical attention got other keys or values than queries; it attends to its input")
        _no_mask(key_padding_mask is not None or attn_mask is not None or is_causal)
        if query.dim() != 3:
            raise PatternError(f"hierarchical attention got {query.dim()} axes, expected 3: add the batch's")
        y = query if self.batch_first else query.transpose(0, 1)
        made = F.linear(y, self.in_proj_weight, self.in_proj_bias)
        q, k, v = made.reshape(*made.shape[:2], 3, self.num_heads, self.head_dim).unbind(2)
        # As in torch, the output projection's parameters are read here and its module is not called.
        out = F.linear(self.hierarchy(y, q, k, v), self.out_proj.weight, self.out_proj.bias)
        return (out if self.batch_first else out.transpose(0, 1)), None


class HierarchicalTimmAttention(nn.Module):
    """The parts of timm's Attention with `TokenHierarchy` between its projections; made by `make_hierarchical`.

    It is no subclass, since timm need not be installed; it takes over what the module holds.
    """

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """B N C → B N C."""
        _no_mask(attn_mask is not None or is_causal)
        own = cast("Any", self)
        query, key, value = own.qkv(x).reshape(*x.shape[:2], 3, own.num_heads, own.head_dim).unbind(2)
        mixed = own.norm(own.hierarchy(x, own.q_norm(query), own.k_norm(key), value))
        out: Tensor = own.proj_drop(own.proj(mixed))
        return out


def make_hierarchical(module: nn.Module, shape: AttentionShape, *, window: int, pool: int, seed: int) -> None:
    """Turns an attention module into a hierarchical one, in place.

    Its projections stay as they are, under their names; q, kv and two norms come in, with torch's initial values drawn
    from `seed`: the whole has to be trained.

    Args:
        module: nn.MultiheadAttention or timm's Attention.
        shape: of the tokens that it will get.
        window: G.
        pool: D.
        seed: of the new values.

    Raises:
        PatternError: another module, or one of another width or number of heads.
    """
    kind = "it is hierarchical already" if is_hierarchical(module) else kind_of(module)
    if kind not in ("multihead", "timm"):
        raise PatternError(f"hierarchical attention: {kind}")
    heads, width = _size(module, kind)
    if (heads, width) != (shape.heads, shape.channels):
        raise PatternError(
            f"hierarchical attention of {shape.heads} heads and {shape.channels} channels for a module of {heads} and "
            f"{width}; the plan belongs to another network"
        )
    dropout = float(module.dropout if isinstance(module, nn.MultiheadAttention) else cast("Any", module).attn_drop.p)
    like = next(module.parameters())
    grid = TokenGrid(shape.height, shape.width, shape.prefix)
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.manual_seed(seed)
        added = TokenHierarchy(shape.channels, heads=heads, grid=grid, window=window, pool=pool, dropout=dropout)
    module.add_module(ADDED, added.to(device=like.device, dtype=like.dtype).train(module.training))
    module.__class__ = HierarchicalMultihead if kind == "multihead" else HierarchicalTimmAttention


def is_hierarchical(module: nn.Module) -> bool:
    """Whether `make_hierarchical` was at work on this very module."""
    return isinstance(module._modules.get(ADDED), TokenHierarchy)


def _size(module: nn.Module, kind: str) -> tuple[int, int]:
    if isinstance(module, nn.MultiheadAttention):
        return module.num_heads, module.embed_dim
    found = cast("Any", module)
    return int(found.num_heads), int(found.attn_dim)


def _no_mask(given: bool) -> None:
    if given:
        raise PatternError("hierarchical attention takes no masks; leave this layer's attention plain (--forbid)")
