"""Sparse layers against the masked dense reference: values, gradients, saving, and every geometry and method."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from advisor.errors import KernelError, PlanError
from advisor.runtime import native, sparse_reference
from advisor.runtime.connections import Connections
from advisor.runtime.sparse import SparseConv, can_replace, sparse
from tests.runtime.sparse_cases import CASES, pair

NEEDS_KERNELS = pytest.mark.skipif(not native.available(), reason=native.why_not() or "compiled")


def compare(case: str, dtype: torch.dtype, tolerance: float, *, method: str, even: bool) -> None:
    kind, arguments, shape, block = CASES[case]
    torch.manual_seed(0)
    module = kind(**arguments).to(dtype)
    layer, dense = pair(module, block, even=2 if even else 0, method=method)
    x = torch.randn(shape, dtype=dtype, requires_grad=True)
    z = x.detach().clone().requires_grad_()
    y, w = dense(x), layer(z)
    assert w.shape == y.shape
    assert w.dtype == dtype
    torch.testing.assert_close(w, y, rtol=0, atol=tolerance)
    with torch.no_grad():
        torch.testing.assert_close(layer(z), y, rtol=0, atol=tolerance)
    weights = torch.randn_like(y)
    (y * weights).sum().backward()
    (w * weights).sum().backward()
    torch.testing.assert_close(z.grad, x.grad, rtol=0, atol=4 * tolerance)
    kept = sparse_reference.kept_weight(dense.weight.grad, layer.indptr, layer.inputs, layer.groups)
    torch.testing.assert_close(layer.weight.grad, kept, rtol=0, atol=16 * tolerance)
    if dense.bias is not None:
        torch.testing.assert_close(layer.bias.grad, dense.bias.grad, rtol=0, atol=16 * tolerance)
    assert layer.weight.numel() == int((dense.weight != 0).sum()), "only kept weights are stored"
    torch.testing.assert_close(layer.dense_weight(), dense.weight.detach())
    torch.testing.assert_close(layer.to_dense()(x), y, rtol=0, atol=tolerance)


@pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel lengths")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("even", [True, False])
def test_equals_masked_dense_in_float64(case: str, even: bool) -> None:
    for method in ("dense", "gather") if even else ("dense", "direct"):
        compare(case, torch.float64, 1e-10, method=method, even=even)


@NEEDS_KERNELS
@pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel lengths")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("even", [True, False])
def test_kernels_equal_masked_dense(case: str, even: bool) -> None:
    compare(case, torch.float32, 2e-6, method="direct", even=even)


def test_which_method_runs() -> None:
    wide, _ = pair(nn.Conv2d(8, 32, 3), 16, even=2)
    narrow, _ = pair(nn.Conv2d(8, 32, 3), 4, even=2)
    uneven, _ = pair(nn.Conv2d(8, 32, 3), 16)
    deep, _ = pair(nn.Conv3d(8, 32, 3), 16, even=2)
    ready = "direct" if native.available() else None
    assert wide.runs_by() == (ready or "gather")
    assert narrow.runs_by() == uneven.runs_by() == (ready or "dense")
    assert deep.runs_by() == "gather", "no kernels in three dimensions"
    double = torch.zeros(1, 8, 5, 5, dtype=torch.float64)
    assert [layer.double().runs_by(double) for layer in (wide, narrow, uneven)] == ["gather", "dense", "dense"]
    narrow.method = "gather"
    assert narrow.runs_by() == "gather"
    wide.float().method = "dense"
    assert wide.runs_by() == "dense"


def test_kernels_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, dense = pair(nn.Conv2d(8, 8, 3), 4)
    monkeypatch.setattr(native, "available", lambda: False)
    assert layer.runs_by() == "dense"
    x = torch.randn(2, 8, 5, 5)
    torch.testing.assert_close(layer(x), dense(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("activation", ["relu", "relu6", "silu"])
def test_activation_and_residual(activation: str) -> None:
    torch.manual_seed(0)
    for dtype, method in ((torch.float32, "direct"), (torch.float64, "dense"), (torch.float64, "gather")):
        layer, dense = pair(nn.Conv2d(8, 8, 3, padding=1).to(dtype), 4, even=3, method=method)
        layer.activation = activation
        x, r = torch.randn(2, 8, 5, 5, dtype=dtype), torch.randn(2, 8, 5, 5, dtype=dtype, requires_grad=True)
        s = r.detach().clone().requires_grad_()
        wanted = getattr(nn.functional, activation)(dense(x) * 3 + r)
        with torch.no_grad():
            layer.weight *= 3
            layer.bias *= 3
        got = layer(x, s)
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=2e-6)
        torch.testing.assert_close(layer(x[0], s[0]), wanted[0], rtol=1e-5, atol=2e-6)
        (wanted * x).sum().backward()
        (got * x).sum().backward()
        torch.testing.assert_close(s.grad, r.grad, rtol=1e-4, atol=2e-6)
        torch.testing.assert_close(layer.bias.grad, dense.bias.grad / 3, rtol=1e-4, atol=2e-5)
        with pytest.raises(PlanError, match=f"has {activation} fused into it"):
            layer.to_dense()


@pytest.mark.parametrize("method", ["direct", "gather", "dense"])
def test_a_residual_of_another_shape_is_refused(method: str) -> None:
    layer, _ = pair(nn.Conv2d(8, 8, 1), 4, even=3, method=method)
    with pytest.raises(KernelError, match=r"residual \(?.*1, 8, 1, 1.*expected.*1, 8, 5, 5"):
        layer(torch.zeros(1, 8, 5, 5), torch.zeros(1, 8, 1, 1))


@pytest.mark.parametrize("method", ["direct", "gather", "dense"])
@pytest.mark.parametrize("shape", [(1, 9, 5, 5), (1, 7, 5, 5), (9, 5, 5), (8, 5), (1, 1, 8, 5, 5)])
def test_an_input_of_another_layer_is_refused(method: str, shape: tuple[int, ...]) -> None:
    layer, _ = pair(nn.Conv2d(8, 8, 3, padding=1), 4, even=3, method=method)
    with pytest.raises(KernelError, match="expected 8 channels and 2 sizes after them"):
        layer(torch.zeros(shape))
    linear, _ = pair(nn.Linear(8, 8), 4, even=3, method=method)
    with pytest.raises(KernelError, match="expected 8 features at the end"):
        linear(torch.zeros(4, shape[0] + 15))


@pytest.mark.parametrize("method", ["direct", "gather", "dense"])
def test_channels_last_comes_out_as_it_went_in(method: str) -> None:
    layer, dense = pair(nn.Conv2d(8, 12, 3), 4, even=3, method=method)
    x = torch.randn(2, 8, 6, 6).to(memory_format=torch.channels_last)
    out = layer(x)
    torch.testing.assert_close(out, dense(x), rtol=1e-5, atol=2e-6)
    if method == "direct":
        assert out.is_contiguous(memory_format=torch.channels_last)
        assert layer(x.contiguous()).is_contiguous()
        torch.testing.assert_close(layer(x[:, :, ::2, 1:]), dense(x[:, :, ::2, 1:]), rtol=1e-5, atol=2e-6)


def small(seed: int, connections: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.Flatten(), nn.Linear(8 * 16, 4))
    for place, block in ((0, 4), (2, 1), (4, 2)):
        net[place] = pair(net[place], block, even=2, seed=connections)[0]
    return net


def test_trains_saves_copies_and_pickles(tmp_path: Path) -> None:
    net, x, y = small(0), torch.randn(16, 4, 6, 6), torch.arange(16) % 4
    optimiser = torch.optim.SGD(net.parameters(), lr=0.2, momentum=0.9, weight_decay=1e-3)
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    torch.save(net.state_dict(), tmp_path / "net.pt")
    other = small(1)
    other.load_state_dict(torch.load(tmp_path / "net.pt", weights_only=True))
    torch.testing.assert_close(other(x), net(x))
    torch.save(net, tmp_path / "whole.pt")
    for copied in (
        copy.deepcopy(net),
        pickle.loads(pickle.dumps(net)),
        torch.load(tmp_path / "whole.pt", weights_only=False),
    ):
        assert torch.equal(copied(x), net(x))
        copied[0].weight.data.zero_()
        assert not torch.equal(copied(x), net(x)), "it is a copy"


def test_loads_a_dense_checkpoint_also_through_meta() -> None:
    torch.manual_seed(5)
    dense = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.Flatten(), nn.Linear(8 * 16, 4))
    wanted, away, emptied = small(0), small(0).to("meta"), small(0)
    wanted.load_state_dict(dense.state_dict())
    for place in (0, 2, 4):
        full, own = dense[place].weight, wanted[place].dense_weight()
        assert torch.equal(own[own != 0], full[own != 0])
        assert (own != 0).sum() == wanted[place].weight.numel()
    assert away(torch.zeros(2, 4, 6, 6, device="meta")).shape == (2, 4)
    away.load_state_dict(dense.state_dict(), assign=True)
    emptied.to_empty(device="cpu")
    emptied.load_state_dict(dense.state_dict())
    x = torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(away(x), wanted(x))
    torch.testing.assert_close(emptied(x), wanted(x))


def test_refuses_weights_of_other_inputs() -> None:
    net, other = small(0), small(0, connections=1)
    with pytest.raises(RuntimeError, match=r"2.weight: reads other inputs"):
        other.load_state_dict(net.state_dict())


def test_moves_and_changes_type() -> None:
    net, x = small(0), torch.randn(3, 4, 6, 6)
    wanted = net(x)
    half = copy.deepcopy(net).to(torch.bfloat16)
    assert half(x.bfloat16()).dtype == torch.bfloat16
    assert half[0].inputs.dtype == half[0].indptr.dtype == torch.int32
    torch.testing.assert_close(half(x.bfloat16()).float(), wanted, rtol=0.1, atol=0.1)
    torch.testing.assert_close(copy.deepcopy(net).double()(x.double()).float(), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
def test_on_cuda() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    net, x = small(0), torch.randn(3, 4, 6, 6)
    torch.testing.assert_close(copy.deepcopy(net).cuda()(x.cuda()).cpu(), net(x), rtol=1e-3, atol=1e-3)


def test_hooks_mode_and_frozen_weights_go_along() -> None:
    seen: list[tuple[int, ...]] = []
    dense = nn.Conv2d(4, 4, 3).eval().requires_grad_(False)
    dense.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape)))
    layer, _ = pair(dense, 2)
    assert not layer.training
    assert not layer.weight.requires_grad
    layer(torch.zeros(1, 4, 5, 5))
    assert seen == [(1, 4, 3, 3)]
    assert "block=2, rows=" in repr(layer)


def test_a_layer_with_its_own_forward_is_no_plain_layer() -> None:
    class Padded(nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(nn.functional.pad(x, (1, 1, 1, 1)))

    assert can_replace(nn.Conv2d(1, 1, 1))
    assert not can_replace(Padded(1, 1, 1))
    assert not can_replace(nn.ConvTranspose2d(1, 1, 1))


@pytest.mark.parametrize(
    ("indptr", "inputs", "block", "words"),
    [
        ([0, 1, 2, 3], [0, 1, 2], 3, "3 blocks of 3 outputs do not make 8 outputs in 1 groups"),
        ([0, 1, 2], [0, 4], 4, "block 1 reads input 4, outside the 4 inputs of its group"),
        ([0, 2, 2], [1, 1], 4, "block 0 reads input 1 before 1; expected ascending inputs"),
        ([0, 2, 1], [0, 1], 4, "indptr runs from 0 to 1 over 2 inputs"),
        ([0, 2, 1, 2], [0, 1], 4, "3 blocks of 4 outputs"),
        ([0, 1, 2], [-1, 1], 4, "inputs holds -1 to 1"),
        ([0.0, 1.0, 2.0], [0, 1], 4, "indptr is float64"),
    ],
)
def test_refuses_lists_that_do_not_fit(indptr: list[int], inputs: list[int], block: int, words: str) -> None:
    with pytest.raises(PlanError, match=words):
        sparse(nn.Conv2d(4, 8, 1), indptr, inputs, block)


def test_refuses_what_has_no_sparse_form() -> None:
    with pytest.raises(PlanError, match="outside the 2 inputs of its group"):
        sparse(nn.Conv2d(4, 8, 1, groups=2), [0, 1, 2], [0, 1], 4)
    with pytest.raises(PlanError, match="ConvTranspose2d has no sparse form"):
        sparse(nn.ConvTranspose2d(4, 8, 1), [0, 1, 2], [0, 1], 4)
    with pytest.raises(PlanError, match="different numbers of inputs cannot gather"):
        sparse(nn.Conv2d(4, 8, 1), [0, 1, 3], [0, 1, 2], 4, method="gather")
    with pytest.raises(PlanError, match="unknown method 'directly'"):
        sparse(nn.Conv2d(4, 8, 1), [0, 1, 3], [0, 1, 2], 4, method="directly")  # type: ignore[arg-type]


def test_connections_from_units_count_over_groups() -> None:
    held = Connections.from_units(np.array([[True, False], [True, True], [False, False], [False, True]]), 2, groups=2)
    assert held.indptr.tolist() == [0, 1, 3, 3, 4]
    assert held.inputs.tolist() == [0, 0, 1, 3]
    assert (held.blocks, held.rows, held.kept) == (4, 4, 0)
    assert isinstance(sparse(nn.Conv2d(4, 8, 3, groups=2), held.indptr, held.inputs, 2), SparseConv)


def test_channels_last_leaves_kept_weights_as_the_kernels_read_them() -> None:
    layer, dense = pair(nn.Conv2d(8, 32, 3), 16, even=2)
    x = torch.randn(2, 8, 6, 6)
    layer.to(memory_format=torch.channels_last)
    dense.to(memory_format=torch.channels_last)
    assert not dense.weight.is_contiguous(), "torch moved what it can"
    assert layer.weight.is_contiguous()
    torch.testing.assert_close(layer(x.contiguous(memory_format=torch.channels_last)), dense(x))
    again = copy.deepcopy(layer).double()
    assert again.weight.is_contiguous()
