"""Hierarchical attention over sequences of image tokens, with and without a class token."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from advisor.errors import PatternError
from advisor.runtime.attention import TokenHierarchy, local_attention
from advisor.runtime.attention.tokens import TokenGrid


def made(grid: TokenGrid, *, window: int = 2, pool: int = 1) -> TokenHierarchy:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = TokenHierarchy(8, heads=2, grid=grid, window=window, pool=pool)
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.4)
    return module.eval()


def inputs(tokens: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (torch.randn((2, tokens, 8), generator=generator), *torch.randn((3, 2, tokens, 2, 4), generator=generator))


@pytest.mark.parametrize("prefix", [0, 1, 3])
@pytest.mark.parametrize("pool", [1, 2])
def test_it_is_the_two_steps_by_hand(prefix: int, pool: int) -> None:
    grid = TokenGrid(4, 6, prefix)
    module = made(grid, pool=pool)
    y, query, key, value = inputs(grid.tokens)
    image = [part[:, prefix:].reshape(2, 4, 6, 2, 4) for part in (query, key, value)]
    local = torch.cat((torch.zeros((2, prefix, 8)), local_attention(*image, 2).reshape(2, 24, 8)), 1)
    near = module.local_norm(y + local)
    tiles = near[:, prefix:].reshape(2, 4 // pool, pool, 6 // pool, pool, 8).mean((2, 4)).flatten(1, 2)
    keys, values = module.kv(module.pool_norm(torch.cat((near[:, :prefix], tiles), 1))).chunk(2, -1)
    scores = torch.einsum("bnhd,bmhd->bhnm", module.q(near).unflatten(2, (2, 4)), keys.unflatten(2, (2, 4))) / 2
    mixed = torch.einsum("bhnm,bmhd->bnhd", scores.softmax(-1), values.unflatten(2, (2, 4))).flatten(2)
    torch.testing.assert_close(module(y, query, key, value), mixed + near, rtol=1e-4, atol=1e-5)


def test_the_class_token_reads_the_whole_image_and_is_read() -> None:
    grid = TokenGrid(4, 4, 1)
    module = made(grid, pool=2)
    y, query, key, value = inputs(17)
    before = module(y, query, key, value)
    y[:, 16, :3] += 3.0
    assert not torch.equal(module(y, query, key, value)[:, 0], before[:, 0])
    y[:, 16, :3] -= 3.0
    y[:, 0, :3] += 3.0
    after = module(y, query, key, value)
    assert (after[:, 1:] != before[:, 1:]).any(-1).all()


def test_another_number_of_tokens_is_refused() -> None:
    with pytest.raises(PatternError, match="got 24 tokens, expected 25 \\(1 and 4x6\\); plan again"):
        made(TokenGrid(4, 6, 1))(*inputs(24))
