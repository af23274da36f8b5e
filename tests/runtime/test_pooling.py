"""Pooling on the kernels: torch's values for torch's arguments."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import advisor
from advisor.runtime import native, pooling


@pytest.fixture(autouse=True)
def _kernels() -> None:
    if not native.available():
        pytest.skip(native.why_not())


def _arguments(draw: st.DrawFn) -> dict[str, Any]:
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    return {
        "kernel_size": kernel,
        "stride": draw(st.one_of(st.none(), st.tuples(st.integers(1, 4), st.integers(1, 4)))),
        "padding": tuple(draw(st.integers(0, k // 2)) for k in kernel),
        "ceil_mode": draw(st.booleans()),
    }


@st.composite
def cases(draw: st.DrawFn) -> tuple[torch.Tensor, dict[str, Any]]:
    shape = draw(st.tuples(st.integers(1, 2), st.integers(1, 5), st.integers(5, 40), st.integers(5, 40)))
    x = torch.randn(shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 99))))
    if draw(st.booleans()):
        x[..., draw(st.integers(0, 4)), draw(st.integers(0, 4))] = draw(st.sampled_from([float("nan"), float("inf")]))
    return x, _arguments(draw)


@given(cases())
@settings(max_examples=150, deadline=None)
def test_maxima_are_torchs(case: tuple[torch.Tensor, dict[str, Any]]) -> None:
    x, arguments = case
    torch.testing.assert_close(
        pooling.max_pool2d(x, **arguments), F.max_pool2d(x, **arguments), rtol=0, atol=0, equal_nan=True
    )


@given(cases(), st.booleans(), st.sampled_from([None, 3]))
@settings(max_examples=150, deadline=None)
def test_averages_are_torchs(case: tuple[torch.Tensor, dict[str, Any]], counts: bool, divisor: int | None) -> None:
    x, arguments = case
    arguments |= {"count_include_pad": counts, "divisor_override": divisor}
    torch.testing.assert_close(
        pooling.avg_pool2d(x, **arguments), F.avg_pool2d(x, **arguments), rtol=1e-5, atol=1e-5, equal_nan=True
    )


@pytest.mark.parametrize("threads", [1, 3])
def test_any_number_of_threads(threads: int) -> None:
    x, before = torch.randn(3, 21, 30, 30), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert torch.equal(pooling.max_pool2d(x, 3, 2, 1), F.max_pool2d(x, 3, 2, 1))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    "x",
    [
        torch.randn(2, 3, 9, 9, dtype=torch.float64),
        torch.randn(2, 3, 9, 9).contiguous(memory_format=torch.channels_last),
        torch.randn(3, 9, 9),
        torch.randn(2, 3, 9, 9, requires_grad=True),
        torch.empty(0, 3, 9, 9),
    ],
    ids=["float64", "channels last", "no batch", "gradients", "no images"],
)
def test_the_rest_is_left_to_torch(x: torch.Tensor) -> None:
    for ours, theirs in ((pooling.max_pool2d, F.max_pool2d), (pooling.avg_pool2d, F.avg_pool2d)):
        got, wanted = ours(x, 3, 2, 1), theirs(x, 3, 2, 1)
        assert torch.equal(got, wanted)
        assert got.stride() == wanted.stride()
        assert got.requires_grad == wanted.requires_grad


def test_indices_dilation_and_mistakes_are_torchs() -> None:
    x = torch.randn(1, 2, 9, 9)
    got, places = pooling.max_pool2d(x, 3, return_indices=True)
    wanted, theirs = F.max_pool2d(x, 3, return_indices=True)
    assert torch.equal(got, wanted)
    assert torch.equal(places, theirs)
    assert torch.equal(pooling.max_pool2d(x, 3, dilation=2), F.max_pool2d(x, 3, dilation=2))
    with pytest.raises(RuntimeError, match="pad"):
        pooling.max_pool2d(x, 2, padding=2)
    negative = pooling.avg_pool2d(x, 3, divisor_override=-2)
    assert torch.equal(negative, F.avg_pool2d(x, 3, divisor_override=-2))
    with pytest.raises(RuntimeError, match="zero"):
        pooling.avg_pool2d(x, 3, divisor_override=0)
    with pytest.raises(RuntimeError, match="too small"):
        pooling.avg_pool2d(x, 11)


class Pools(nn.Module):
    """Pooling as modules and as functions, between layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.pool = nn.Conv2d(3, 16, 3, padding=1), nn.MaxPool2d(3, 2, 1)
        self.one, self.two = nn.Conv2d(16, 32, 3, padding=1), nn.Conv2d(32, 32, 1)
        self.mean, self.head = nn.AvgPool2d(2), nn.Linear(32, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.one(self.pool(self.stem(x)))
        x = F.avg_pool2d(x, kernel_size=3, stride=1, padding=1) + F.max_pool2d(x, 3, 1, 1)
        return self.head(self.mean(self.two(x)).mean((2, 3)))


def test_an_applied_network_pools_on_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = Pools().eval(), torch.randn(2, 3, 20, 20)
    plan = advisor.plan(advisor.analyze(model, x), budgets={"macs": "40%"}, patterns=["group"])
    fast = plan.apply(model, for_inference=True, example_inputs=x)
    pools: list[bool] = []
    real = pooling._pool
    monkeypatch.setattr(pooling, "_pool", lambda *a, **k: pools.append(k["average"]) or real(*a, **k))
    with torch.no_grad():
        got = fast(x)
        assert sorted(pools) == [False, False, True, True]
        for masked in (plan.apply(model), copy.deepcopy(fast), torch.compile(fast, backend="eager")):
            torch.testing.assert_close(masked(x), got, rtol=1e-4, atol=1e-5)
    assert type(model.pool) is nn.MaxPool2d
