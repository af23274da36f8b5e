"""Attention in two steps, inside windows and then to pooled tokens, and what puts it in plain attention's place."""

from advisor.runtime.attention.hierarchical import HierarchicalAttention
from advisor.runtime.attention.steps import global_attention, local_attention, pooled
from advisor.runtime.attention.tokens import TokenHierarchy

__all__ = ["HierarchicalAttention", "TokenHierarchy", "global_attention", "local_attention", "pooled"]
