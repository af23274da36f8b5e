"""Run by `test_triton_modules.py` in a process that interprets Triton: sparse modules on the GPU's kernels."""

import pytest
import torch
from torch import nn

from advisor.runtime import gpu, sparse_kernels
from tests.runtime.sparse_cases import pair

TYPES = sparse_kernels.types_of("cuda")


@pytest.fixture(autouse=True)
def _triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the GPU's kernels, interpreted, take the CPU's tensors."""
    monkeypatch.setattr(gpu, "available", lambda: True)
    monkeypatch.setitem(sparse_kernels._BACKENDS, "cpu", (gpu, TYPES))


@pytest.mark.parametrize("even", [0, 3])
@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Conv2d(8, 32, 3, padding=1, stride=2), (2, 8, 6, 5)),
        (nn.Conv2d(8, 32, 1, groups=2, bias=False), (1, 8, 4, 4)),
        (nn.Conv1d(8, 32, 3), (2, 8, 7)),
        (nn.Linear(8, 32), (3, 8)),
    ],
    ids=str,
)
def test_modules_equal_masked_dense(module: nn.Module, shape: tuple[int, ...], even: int) -> None:
    torch.manual_seed(0)
    layer, dense = pair(module, 16, even=even)
    layer.activation = "silu"
    x = torch.randn(shape, requires_grad=True)
    z = x.detach().clone().requires_grad_()
    assert layer.runs_by(z) == "direct"
    got, wanted = layer(z), nn.functional.silu(dense(x))
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(layer(z), wanted, rtol=1e-5, atol=1e-5)
    (got * got.detach()).sum().backward()
    (wanted * wanted.detach()).sum().backward()
    torch.testing.assert_close(z.grad, x.grad, rtol=1e-4, atol=1e-5)
    kept = sparse_kernels.reference.kept_weight(dense.weight.grad, layer.indptr, layer.inputs, layer.groups)
    torch.testing.assert_close(layer.weight.grad, kept, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_runs_the_kernels(dtype: torch.dtype) -> None:
    layer, dense = pair(nn.Conv2d(8, 32, 3, padding=1).to(dtype), 16, even=3)
    x = torch.randn(1, 8, 4, 4, dtype=dtype)
    with torch.no_grad():
        torch.testing.assert_close(layer(x, layer(x)), dense(x) * 2, rtol=0.02, atol=0.02)
    assert layer(x).dtype == dtype
