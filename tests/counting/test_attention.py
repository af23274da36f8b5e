"""Attention counts the same whatever path torch takes through it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from tests.counting.ways import WAYS, counted, graph_of, macs_of, params_of

L, S, E, HEADS, BATCH = 5, 7, 16, 4, 2
PROJECTIONS = BATCH * (L + 2 * S) * E * E + BATCH * L * E * E  # q, k, v and out
PRODUCTS = BATCH * 2 * L * S * E


class Attend(nn.Module):
    """Cross attention of x over y."""

    def __init__(self, need_weights: bool, **options: Any) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(E, HEADS, batch_first=True, **options)
        self.need_weights = need_weights

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.attention(x, y, y, need_weights=self.need_weights)[0]


class SelfAttend(Attend):
    """Self attention, for which torch has a fused path."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x, x)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("need_weights", [False, True])
def test_cross_attention(way: str, need_weights: bool) -> None:
    result = counted(way, lambda: Attend(need_weights), ((BATCH, L, E), (BATCH, S, E)))
    assert macs_of(result) == PROJECTIONS + PRODUCTS
    assert not result.unsupported_ops


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("need_weights", [False, True])
def test_self_attention_and_its_rows(way: str, need_weights: bool) -> None:
    result = counted(way, lambda: SelfAttend(need_weights), ((BATCH, L, E),))
    rows = {layer.name: layer for layer in result.layers}
    assert rows["attention"].macs == BATCH * L * E * 3 * E
    assert rows["attention"].params == 3 * E * E + 3 * E
    assert rows["attention.out_proj"].macs == BATCH * L * E * E
    assert not rows["attention"].is_module
    assert not rows["attention.out_proj"].is_module
    assert macs_of(result) == BATCH * L * E * 4 * E + BATCH * 2 * L * L * E


@pytest.mark.parametrize("way", WAYS)
def test_extra_keys_and_other_widths(way: str) -> None:
    result = counted(way, lambda: Attend(False, kdim=8, vdim=8), ((BATCH, L, E), (BATCH, S, 8)))
    assert macs_of(result) == BATCH * (L * E * E + 2 * S * 8 * E + L * E * E) + PRODUCTS
    biased = counted(way, lambda: Attend(False, add_bias_kv=True), ((BATCH, L, E), (BATCH, S, E)))
    assert macs_of(biased) == PROJECTIONS + BATCH * 2 * L * (S + 1) * E
    assert params_of(biased) == sum(p.numel() for p in Attend(False, add_bias_kv=True).parameters())


def encoder() -> nn.Module:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(E, HEADS, 32, batch_first=True), 2)


def test_the_fused_encoder_layer_counts_as_its_parts() -> None:
    parts = counted("exported on meta", encoder, ((BATCH, L, E),))
    fused = counted("recorded on cpu", encoder, ((BATCH, L, E),))
    assert any(
        "_transformer_encoder_layer_fwd" in op.target
        for op in graph_of("recorded on cpu", encoder, ((BATCH, L, E),))[1].ops
    )
    assert macs_of(parts) == macs_of(fused) == 2 * (BATCH * L * (4 * E * E + 2 * E * 32) + BATCH * 2 * L * L * E)
    assert {(layer.name, layer.params, layer.macs) for layer in parts.layers} == {
        (layer.name, layer.params, layer.macs) for layer in fused.layers
    }


BUILDS: dict[str, tuple[Callable[[], nn.Module], tuple[Any, ...]]] = {
    "encoder, norm first": (
        lambda: nn.TransformerEncoderLayer(E, HEADS, 32, batch_first=True, norm_first=True, activation="gelu"),
        ((BATCH, L, E),),
    ),
    "encoder, sequence first": (lambda: nn.TransformerEncoderLayer(E, HEADS, 32), ((L, BATCH, E),)),
    "decoder": (lambda: nn.TransformerDecoderLayer(E, HEADS, 32, batch_first=True), ((BATCH, L, E), (BATCH, S, E))),
    "transformer": (lambda: nn.Transformer(E, HEADS, 1, 1, 32, batch_first=True), ((BATCH, L, E), (BATCH, S, E))),
}


@pytest.mark.parametrize("name", BUILDS)
def test_torch_blocks_count_alike_in_every_way(name: str) -> None:
    build, shapes = BUILDS[name]
    results = [counted(way, build, shapes) for way in WAYS]
    assert len({macs_of(result) for result in results}) == 1
    assert macs_of(results[0]) > 0
    assert {params_of(result) for result in results} == {sum(p.numel() for p in build().parameters())}
    assert not any(result.unsupported_ops for result in results)


class Grouped(nn.Module):
    """Attention whose query heads share key heads."""

    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, k, enable_gqa=True)


@pytest.mark.parametrize("way", WAYS)
def test_grouped_query_heads_count_every_query_head(way: str) -> None:
    result = counted(way, Grouped, ((2, 8, 4, 16), (2, 2, 6, 16)))
    assert macs_of(result) == 2 * 8 * 4 * 6 * (16 + 16)


@pytest.mark.parametrize("backend", [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION])
@pytest.mark.parametrize("way", ["recorded on cpu", "recorded on meta", "exported on cpu"])
def test_every_backend_counts_the_same(way: str, backend: SDPBackend) -> None:
    with sdpa_kernel([backend, SDPBackend.MATH]):
        result = counted(way, lambda: Grouped(), ((2, 8, 4, 16), (2, 8, 6, 16)))
    assert macs_of(result) == 2 * 8 * 4 * 6 * (16 + 16)


def test_a_vision_transformer_counts_the_same_on_every_path() -> None:
    from torchvision.models.vision_transformer import VisionTransformer

    def build() -> nn.Module:
        return VisionTransformer(image_size=32, patch_size=8, num_layers=2, num_heads=4, hidden_dim=32, mlp_dim=64)

    tokens, width = 17, 32
    block = tokens * (4 * width * width + 2 * width * 64) + 2 * tokens * tokens * width
    expected = 3 * 64 * 16 * width + 2 * block + width * 1000
    assert [macs_of(counted(way, build, ((1, 3, 32, 32),))) for way in WAYS] == [expected] * 4
