"""Attention modules that become hierarchical in place, and which ones can."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

import advisor
from advisor.errors import PatternError
from advisor.patterns import hierarchical
from advisor.patterns.hierarchical import AttentionShape
from advisor.runtime.attention.replace import is_hierarchical, make_hierarchical
from advisor.runtime.attention.sites import attention_sites
from tests.runtime.attention.networks import Patches, patches

SHAPE = AttentionShape(channels=16, heads=2, height=4, width=4)


def test_projections_stay_and_the_rest_comes_from_the_seed() -> None:
    first, second = (nn.MultiheadAttention(16, 2, batch_first=True) for _ in range(2))
    second.load_state_dict(first.state_dict())
    before = {name: tensor.clone() for name, tensor in first.state_dict().items()}
    torch.manual_seed(3)
    make_hierarchical(first, SHAPE, window=2, pool=2, seed=5)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(1))  # torch's own stream is left as it was
    make_hierarchical(second, SHAPE, window=2, pool=2, seed=5)
    after = first.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    new = {name: tensor for name, tensor in after.items() if name not in before}
    assert sum(t.numel() for t in new.values()) == hierarchical.added_params(
        SHAPE, hierarchical.hierarchical(SHAPE, 2, 2)
    )
    assert all(torch.equal(second.state_dict()[name], tensor) for name, tensor in new.items())
    x = torch.randn(2, 16, 16)
    torch.testing.assert_close(first(x, x, x)[0], second(x, x, x)[0], rtol=0, atol=0)
    assert first(x, x, x)[1] is None


def test_the_order_of_axes_makes_no_difference() -> None:
    module = nn.MultiheadAttention(16, 2, batch_first=True)
    make_hierarchical(module, SHAPE, window=2, pool=2, seed=0)
    other = copy.deepcopy(module)
    other.batch_first = False
    x = torch.randn(3, 16, 16)
    y = x.transpose(0, 1)
    torch.testing.assert_close(other(y, y, y)[0].transpose(0, 1), module(x, x, x)[0])


def test_both_kinds_compute_the_same() -> None:
    plain = nn.MultiheadAttention(16, 2, batch_first=True)
    block = timm.layers.Attention(16, 2, qkv_bias=True)
    block.load_state_dict(
        {
            "qkv.weight": plain.in_proj_weight,
            "qkv.bias": plain.in_proj_bias,
            "proj.weight": plain.out_proj.weight,
            "proj.bias": plain.out_proj.bias,
        }
    )
    x = torch.randn(2, 17, 16)
    torch.testing.assert_close(block(x), plain(x, x, x)[0], rtol=1e-4, atol=1e-5)
    shape = AttentionShape(channels=16, heads=2, height=4, width=4, prefix=1)
    for module in (plain, block):
        make_hierarchical(module, shape, window=2, pool=2, seed=1)
    torch.testing.assert_close(block(x), plain(x, x, x)[0], rtol=1e-4, atol=1e-5)


def test_they_copy_and_pickle() -> None:
    block = timm.layers.Attention(16, 2, qk_norm=True, norm_layer=nn.LayerNorm)
    make_hierarchical(block, SHAPE, window=2, pool=2, seed=1)
    x = torch.randn(2, 16, 16)
    for other in (copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
        torch.testing.assert_close(other(x), block(x), rtol=0, atol=0)
        assert is_hierarchical(other)


def calls(x: Tensor) -> list[tuple[tuple[Any, ...], dict[str, Any], str]]:
    mask = torch.zeros(16, 16)
    return [
        ((x, x.clone(), x), {}, "other keys or values than queries"),
        ((x, x, x), {"attn_mask": mask}, "takes no masks"),
        ((x[0],) * 3, {}, "got 2 axes, expected 3"),
        ((x[:, :9],) * 3, {}, "got 9 tokens, expected 16"),
    ]


@pytest.mark.parametrize("number", range(4))
def test_what_it_cannot_do_is_said(number: int) -> None:
    module = nn.MultiheadAttention(16, 2, batch_first=True)
    make_hierarchical(module, SHAPE, window=2, pool=2, seed=0)
    given, options, text = calls(torch.randn(2, 16, 16))[number]
    if number in (2, 3):
        given = (given[0],) * 3
    with pytest.raises(PatternError, match=text):
        module(*given, **options)


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (nn.Linear(3, 3), "Linear is neither nn.MultiheadAttention nor timm.layers.Attention"),
        (nn.MultiheadAttention(16, 4), "of 2 heads and 16 channels for a module of 4 and 16"),
        (nn.MultiheadAttention(16, 2, kdim=8, vdim=8), "other widths than its queries"),
        (nn.MultiheadAttention(16, 2, add_bias_kv=True), "adds a key of its own"),
        (timm.layers.Attention(16, 2, gated=True), "it is gated"),
    ],
)
def test_modules_that_cannot(module: nn.Module, text: str) -> None:
    with pytest.raises(PatternError, match=text):
        make_hierarchical(module, SHAPE, window=2, pool=2, seed=0)


def test_once_is_enough() -> None:
    module = nn.MultiheadAttention(16, 2)
    make_hierarchical(module, SHAPE, window=2, pool=2, seed=0)
    with pytest.raises(PatternError, match="hierarchical already"):
        make_hierarchical(module, SHAPE, window=2, pool=2, seed=0)


@pytest.mark.parametrize(("class_token", "batch_first"), [(False, True), (True, True), (False, False)])
def test_sites_know_their_tokens(class_token: bool, batch_first: bool) -> None:
    _, network = patches(16, class_token=class_token, batch_first=batch_first)
    (site,) = attention_sites(network).able.values()
    assert (site.layer, site.module, site.kind) == ("attention:attention", "attention", "multihead")
    assert site.shape == AttentionShape(channels=16, heads=2, height=8, width=8, prefix=int(class_token))
    assert site.projections == ("attention", "attention.out_proj")
    assert network.layer(site.layer).macs == site.shape.plain_macs


class Words(nn.Module):
    """A sequence that no image made."""

    def __init__(self, *, masked: bool = False) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.masked = masked

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.zeros(x.shape[1], x.shape[1], device=x.device) if self.masked else None
        return self.attention(x, x, x, attn_mask=mask, need_weights=False)[0]  # type: ignore[no-any-return]


class Crossed(Patches):
    """Queries of half the tokens."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.embed(x).flatten(2).transpose(1, 2)
        return self.attention(y[:, ::2], y, y, need_weights=False)[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("module", "shape", "text"),
    [
        (Words(), (1, 16, 16), "no convolution before it has an output of 16 positions"),
        (Words(masked=True), (1, 16, 16), "it has an attention mask"),
        (Crossed(), (1, 3, 8, 8), "it attends to other tokens than its own"),
    ],
)
def test_sites_that_are_refused(module: nn.Module, shape: tuple[int, ...], text: str) -> None:
    found = attention_sites(advisor.analyze(module, (torch.zeros(shape),), name="x"))
    assert not found.able
    (reason,) = found.refused.values()
    assert text in reason


class Weighed(Patches):
    """Attention that returns its weights, too: torch then runs two products instead of one operator."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.embed(x).flatten(2).transpose(1, 2)
        mixed: Tensor = self.attention(y, y, y)[0]
        return mixed


def test_attention_may_run_as_two_products() -> None:
    module = Weighed()
    x = torch.zeros(2, 3, 16, 16)
    network = advisor.analyze(module, (x,), name="x")
    (site,) = attention_sites(network).able.values()
    assert site.layer == "attention:matmul"
    assert site.shape == AttentionShape(channels=16, heads=2, height=8, width=8, images=2)
    assert network.layer(site.layer).macs == site.shape.plain_macs
    plan = advisor.plan(network, budgets={"macs": "80%"}, patterns=["hierarchical"])
    assert advisor.analyze(plan.apply(module), (x,), name="x").macs == plan.costs["macs"].plan
    assert [layer.name for layer in plan.attention] == ["attention:matmul"]


def test_other_attention_is_named_and_other_products_are_not() -> None:
    class Products(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x @ x.transpose(-2, -1)

    class WindowAttention(Products):
        pass

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 4)
            self.first, self.second = Products(), WindowAttention()

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(self.head(x)))  # type: ignore[no-any-return]

    found = attention_sites(advisor.analyze(Both(), (torch.zeros(1, 4, 4),), name="x"))
    assert found.able == {}
    assert dict(found.refused) == {
        "second:matmul": "WindowAttention is neither nn.MultiheadAttention nor timm.layers.Attention"
    }
