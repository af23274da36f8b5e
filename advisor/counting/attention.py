"""Attention in every form: one operator, its kernels, and the fused encoder layer."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from advisor.counting.products import linear_work
from advisor.counting.work import Arguments, Work, counts
from advisor.network import Shape, Value


def attention_work(query: Shape, key: Shape, value: Shape, beside: int | None = None) -> Work:
    """q·kᵀ and attention·v, with batch and heads in front: (…, L, E), (…, S, E), (…, S, Ev)."""
    rows, width = query[-2], query[-1]
    macs = prod(query[:-2]) * rows * key[-2] * (width + value[-1])
    return Work(kind="attention", macs=macs, input_shape=query, output_shape=(*query[:-1], value[-1]), beside=beside)


@counts(
    "aten.scaled_dot_product_attention",
    "aten._scaled_dot_product_attention_math",
    "aten._scaled_dot_product_attention_math_for_mps",
    "aten._scaled_dot_product_flash_attention",
    "aten._scaled_dot_product_flash_attention_for_cpu",
    "aten._scaled_dot_product_efficient_attention",
    "aten._scaled_dot_product_cudnn_attention",
    "aten._scaled_dot_product_fused_attention_overrideable",
)
def _attention(a: Arguments, values: Sequence[Value], outs: Sequence[Shape]) -> list[Work]:
    query, key, value = (values[a[name].index].shape for name in ("query", "key", "value"))
    return [attention_work(query, key, value)]


@counts("aten._flash_attention_forward", "aten._efficient_attention_forward")
def _flash_kernel(a: Arguments, values: Sequence[Value], outs: Sequence[Shape]) -> list[Work]:
    # Here heads come after the sequence: (B, L, H, E)
    shapes = [values[a[name].index].shape for name in ("query", "key", "value")]
    query, key, value = ((s[0], s[2], s[1], s[3]) for s in shapes)
    return [attention_work(query, key, value)]


@counts("flex_attention")
def _flex(a: Arguments, values: Sequence[Value], outs: Sequence[Shape]) -> list[Work]:
    # A block mask may leave out part of this; what it leaves out is not known before it runs.
    query, key, value = (values[a[position].index].shape for position in ("0", "1", "2"))
    return [attention_work(query, key, value)]


def _heads(x: Shape, embed: int, heads: int) -> Shape:
    return (x[0], heads, x[1], embed // heads)


@counts("aten._native_multi_head_attention")
def _native_attention(a: Arguments, values: Sequence[Value], outs: Sequence[Shape]) -> list[Work]:
    query, key = (values[a[name].index].shape for name in ("query", "key"))
    embed, heads = a["embed_dim"], a["num_head"]
    qkv, proj = values[a["qkv_weight"].index], values[a["proj_weight"].index]
    works = [linear_work(query, qkv, (*query[:-1], 3 * embed), bias=True)]
    q, k = _heads(query, embed, heads), _heads(key, embed, heads)
    return [*works, attention_work(q, k, k, qkv.index), linear_work(query, proj, (*query[:-1], embed), bias=True)]


@counts("aten._transformer_encoder_layer_fwd")
def _encoder_layer(a: Arguments, values: Sequence[Value], outs: Sequence[Shape]) -> list[Work]:
    x = values[a["src"].index].shape
    embed, heads = a["embed_dim"], a["num_heads"]
    weights = {name: values[a[name].index] for name in ("qkv_weight", "proj_weight", "ffn_weight_1", "ffn_weight_2")}
    hidden = (*x[:-1], weights["ffn_weight_1"].shape[0])
    rows = _heads(x, embed, heads)
    return [
        linear_work(x, weights["qkv_weight"], (*x[:-1], 3 * embed), bias=True),
        attention_work(rows, rows, rows, weights["qkv_weight"].index),
        linear_work(x, weights["proj_weight"], x, bias=True),
        linear_work(x, weights["ffn_weight_1"], hidden, bias=True),
        linear_work(hidden, weights["ffn_weight_2"], x, bias=True),
    ]
