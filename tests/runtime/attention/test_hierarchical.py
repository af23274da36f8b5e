"""Hierarchical attention against plain attention, in every case where the two must be equal."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from advisor.errors import PatternError
from advisor.runtime.attention import HierarchicalAttention, global_attention, local_attention, pooled

HEADS, SIZE = 2, 3


def maps(height: int, width: int, seed: int = 0, batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    made = torch.randn((3, batch, height, width, HEADS, SIZE), generator=generator)
    return made[0], made[1], made[2]


def by_hand(query: Tensor, key: Tensor, value: Tensor, may_see: Tensor | None = None) -> Tensor:
    """softmax(QKᵀ d^-1/2) V over all positions, where `may_see` (N, N) is true: B H W heads d."""
    flat = [part.flatten(1, 2).transpose(1, 2) for part in (query, key, value)]
    scores = flat[0] @ flat[1].transpose(-2, -1) * query.shape[-1] ** -0.5
    if may_see is not None:
        scores = scores.masked_fill(~may_see, -torch.inf)
    return (scores.softmax(-1) @ flat[2]).transpose(1, 2).reshape(query.shape)


def block_of(height: int, width: int, window: int) -> Tensor:
    """(N,) the number of each position's window."""
    rows, columns = torch.arange(height)[:, None] // window, torch.arange(width)[None] // window
    return (rows * 1000 + columns).flatten()


@pytest.mark.parametrize(("height", "width", "window"), [(6, 6, 3), (4, 8, 2), (5, 7, 3), (3, 9, 4), (7, 2, 3)])
def test_windows_are_full_attention_with_a_block_diagonal_mask(height: int, width: int, window: int) -> None:
    parts = maps(height, width)
    block = block_of(height, width, window)
    expected = by_hand(*parts, may_see=block[:, None] == block[None])
    torch.testing.assert_close(local_attention(*parts, window), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("window", [5, 8])
def test_a_window_of_the_whole_map_is_full_attention(window: int) -> None:
    parts = maps(5, 5)
    torch.testing.assert_close(local_attention(*parts, window), by_hand(*parts), rtol=1e-5, atol=1e-5)


def test_swapping_two_windows_swaps_their_outputs() -> None:
    parts = maps(6, 6)

    def swapped(x: Tensor) -> Tensor:
        out = x.clone()
        out[:, 0:3, 3:6], out[:, 3:6, 0:3] = x[:, 3:6, 0:3], x[:, 0:3, 3:6]
        return out

    first = local_attention(*parts, 3)
    second = local_attention(*(swapped(part) for part in parts), 3)
    torch.testing.assert_close(second, swapped(first), rtol=0, atol=0)
    assert not torch.equal(first[:, 0:3, 3:6], first[:, 3:6, 0:3])


def test_nothing_leaks_between_windows_nor_from_the_padding() -> None:
    parts = maps(5, 5)
    before = local_attention(*parts, 3)
    parts[1][:, 4, 4] += 5.0
    parts[2][:, 4, 4] -= 7.0
    changed = (local_attention(*parts, 3) != before).flatten(3).any(-1)
    assert changed[:, 3:, 3:].all()
    assert not changed[:, :3].any()
    assert not changed[:, :, :3].any()


def test_a_constant_map_stays_constant_inside_each_window() -> None:
    module = seeded(6, window=2, pool=2)
    x = torch.ones((1, 6, 4, 4)) * torch.linspace(-1, 1, 6)[None, :, None, None]
    out = module(x)
    windows = out.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
    torch.testing.assert_close(windows, windows[..., :1].expand_as(windows), rtol=1e-5, atol=1e-6)


def seeded(channels: int, *, window: int, pool: int, heads: int = HEADS) -> HierarchicalAttention:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        module = HierarchicalAttention(channels, heads=heads, window=window, pool=pool)
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.4)
    return module.eval()


def heads_of(x: Tensor, count: int) -> list[Tensor]:
    """B (count heads d) H W → maps of B H W heads d."""
    return [part.permute(0, 2, 3, 1).unflatten(3, (HEADS, -1)) for part in x.chunk(count, 1)]


def test_without_pooling_the_global_step_is_ordinary_cross_attention() -> None:
    module = seeded(6, window=2, pool=1)
    x = torch.randn((2, 6, 4, 6), generator=torch.Generator().manual_seed(3))
    local = local_attention(*heads_of(module.qkv(module.norm(x)), 3), 2)
    near = module.local_norm(x + local.flatten(3).permute(0, 3, 1, 2))
    queries = heads_of(module.q(near), 1)
    keys = heads_of(module.kv(module.pool_norm(near)), 2)
    mixed = by_hand(queries[0], *keys).flatten(3).permute(0, 3, 1, 2)
    torch.testing.assert_close(module(x), module.proj(mixed + near), rtol=1e-4, atol=1e-5)


def test_a_window_of_one_is_plain_attention() -> None:
    module = seeded(6, window=1, pool=1)
    x = torch.randn((2, 6, 3, 5), generator=torch.Generator().manual_seed(3))
    mixed = by_hand(*heads_of(module.qkv(module.norm(x)), 3)).flatten(3).permute(0, 3, 1, 2)
    torch.testing.assert_close(module(x), module.proj(mixed), rtol=1e-4, atol=1e-5)


def test_queries_may_outnumber_keys() -> None:
    query, key, value = (part.flatten(1, 2) for part in maps(3, 4))
    found = global_attention(query, key[:, :5], value[:, :5])
    scores = torch.einsum("bnhd,bmhd->bhnm", query, key[:, :5]) * SIZE**-0.5
    expected = torch.einsum("bhnm,bmhd->bnhd", scores.softmax(-1), value[:, :5])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_pooling_averages_what_is_there() -> None:
    x = torch.arange(15, dtype=torch.float32).reshape(1, 1, 3, 5)
    found = pooled(x, 2)
    assert found.shape == (1, 1, 2, 3)
    assert found[0, 0].tolist() == [[3.0, 5.0, 6.5], [10.5, 12.5, 14.0]]
    assert pooled(x, 1) is x


@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 9), (1, 5), (3, 3)])
def test_any_size_trains(height: int, width: int) -> None:
    module = HierarchicalAttention(8, heads=2, window=4, pool=3, dropout=0.1)
    x = torch.randn((2, 8, height, width), requires_grad=True)
    out = module(x)
    assert out.shape == x.shape
    out.square().sum().backward()
    assert x.grad is not None
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in module.parameters())


def test_dropout_takes_whole_channels() -> None:
    module = HierarchicalAttention(16, heads=2, window=2, pool=1, dropout=0.5)
    out = module(torch.randn((1, 16, 4, 4), generator=torch.Generator().manual_seed(0)))
    gone = (out == 0).flatten(2)
    assert gone.any()
    assert torch.equal(gone.any(-1), gone.all(-1))


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"heads": 5}, "5 heads do not divide 6 channels"),
        ({"window": 0}, "window=0; expected a whole number from 1"),
        ({"pool": 1.5}, "pool=1.5"),
        ({"heads": True}, "heads=True"),
    ],
)
def test_what_cannot_be_is_said(changed: dict[str, int], text: str) -> None:
    with pytest.raises(PatternError, match=text):
        HierarchicalAttention(6, **({"heads": 2, "window": 2, "pool": 1} | changed))
