from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from advisor.runtime.native import library
from advisor.runtime.pooling import avg_pool2d, max_pool2d
from advisor.runtime.sparse import sparse
from advisor.runtime.standalone import lists_of
from advisor.runtime.watch import watched_by, watcher
from tests.devices.steps.test_executions import sparse_conv, sparse_linear


class Notes:
    """Writes down who was called, and lets the call run with nobody watching."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, name: str, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        self.names.append(name)
        with watched_by(None):
            return function(*args)


def conv() -> nn.Module:
    return sparse(nn.Conv2d(8, 16, 3, padding=1), *lists_of(sparse_conv()), 4, method="direct")


def test_nobody_watches_at_first_and_watchers_stack() -> None:
    one, two = Notes(), Notes()
    assert watcher() is None
    with watched_by(one):
        assert watcher() is one
        with watched_by(two):
            assert watcher() is two
        with watched_by(None):
            assert watcher() is None
        assert watcher() is one
    assert watcher() is None


def test_a_watcher_goes_when_its_block_fails() -> None:
    with pytest.raises(KeyboardInterrupt), watched_by(Notes()):
        raise KeyboardInterrupt
    assert watcher() is None


@pytest.mark.parametrize("grad", [False, True])
def test_each_kernel_is_seen_once_and_gives_the_same(grad: bool, compiled: None) -> None:
    linear = sparse(nn.Linear(32, 24), *lists_of(sparse_linear()), 8, method="direct")
    for module, x in ((conv(), torch.randn(2, 8, 6, 6)), (linear, torch.randn(3, 32))):
        x.requires_grad_(grad)
        before = module(x)
        notes = Notes()
        with watched_by(notes), _nothing():
            seen = module(x)
        assert torch.equal(seen, before)
        assert len(notes.names) == 1
        if grad:
            seen.sum().backward()
            assert x.grad is not None


class _nothing(torch.overrides.TorchFunctionMode):
    """A mode that does nothing: with one on, layers do not go past the dispatcher."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


def test_pooling_is_seen_where_it_would_be_ours() -> None:
    if not library.available():
        pytest.skip("no kernels were built here")
    x, notes = torch.randn(1, 2, 8, 8), Notes()
    with watched_by(notes):
        assert torch.equal(max_pool2d(x, 2), nn.functional.max_pool2d(x, 2))
        avg_pool2d(x, 2)
        max_pool2d(x.double(), 2)
        max_pool2d(x.contiguous(memory_format=torch.channels_last), 2)
        max_pool2d(x, 2, return_indices=True)
        max_pool2d(x.clone().requires_grad_(), 2)
    assert notes.names == ["advisor.max_pool2d", "advisor.avg_pool2d"]


def test_a_kernel_that_fails_leaves_the_watcher_to_its_block(compiled: None) -> None:
    def fails(name: str, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        raise RuntimeError(name)

    with watched_by(fails):
        with pytest.raises(RuntimeError, match=r"advisor\.sparse_conv2d"), _nothing():
            conv()(torch.randn(1, 8, 6, 6))
        assert watcher() is fails
    assert watcher() is None


@pytest.mark.parametrize("inplace", [False, True])
def test_what_a_sparse_layer_gives_may_be_written_into(inplace: bool, with_kernels: None) -> None:
    """As torch's own layers allow, in training."""
    for layer, x in (
        (sparse(nn.Linear(32, 24), *lists_of(sparse_linear()), 8, method="direct"), torch.randn(3, 32)),
        (sparse(nn.Linear(32, 24), *lists_of(sparse_linear()), 8, method="direct"), torch.randn(2, 3, 32)),
        (conv(), torch.randn(2, 8, 6, 6)),
    ):
        net = nn.Sequential(layer, nn.ReLU(inplace=inplace))
        net(x).sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
