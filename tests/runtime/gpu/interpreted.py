"""Run by `test_interpreter.py` in a process of its own: Triton decides when it is loaded whether to interpret.

TRITON_INTERPRET=1 python -m pytest tests/runtime/gpu/interpreted.py
"""

import pytest
import torch

from advisor.runtime import gpu
from advisor.runtime.gpu import checks, grids, kernels, layouts, tuning
from tests.runtime.gpu.cases import CASES, LINEARS, Case, check_conv, check_linear, close, conv, image, kept_of, layer

PADDED = Case(kernel=(3, 3), conv=conv((2, 1), (1, 2)), size=(6, 5), kept=(17, 4), channels=20)


def test_the_interpreter_is_on() -> None:
    assert tuning.interpreted()


@pytest.mark.parametrize("name", CASES)
def test_convolutions(name: str) -> None:
    check_conv(CASES[name], "cpu", torch.float32)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["1x1 long lists", "3x2, all uneven"])
def test_half_precision(name: str, dtype: torch.dtype) -> None:
    check_conv(CASES[name], "cpu", dtype)


@pytest.mark.parametrize("name", LINEARS)
def test_linears(name: str) -> None:
    check_linear(LINEARS[name], "cpu", torch.float32)


def test_linears_in_half_precision() -> None:
    check_linear(LINEARS["rows"], "cpu", torch.bfloat16)


def test_64_bit_offsets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layouts, "_INT32", 0)
    check_conv(PADDED, "cpu", torch.float32)


def test_gradient_by_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    monkeypatch.setattr(grids, "_SCRATCH_BYTES", 1)  # an image at a time
    check_conv(PADDED, "cpu", torch.float32)
    check_conv(CASES["stride beyond the kernel"], "cpu", torch.float32)


def test_shares_of_the_pixels_and_of_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grids, "_programs", lambda device: 300)
    check_conv(Case(images=3, size=(14, 15), channels=70, kept=(70, 33), block=4), "cpu", torch.float32)


@pytest.mark.parametrize("tile", [(16, 16), (32, 64)], ids=str)
def test_tiles_of_other_sizes(tile: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("forward", "grad_input", "grad_weight"):
        monkeypatch.setattr(tuning, name, tuning.fixed(getattr(kernels, name), (*tile, 4, 1)))
    check_conv(PADDED, "cpu", torch.float32)


@pytest.mark.parametrize("activation", checks.ACTIVATIONS)
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # NumPy, which interprets, warns of NaN
def test_activations_and_what_is_no_number(activation: str) -> None:
    case = Case(channels=3, kept=(3,), block=16, size=(1, 8), images=1)
    made = layer(case, "cpu", torch.float32)
    x = image((1, 3, 1, 8), "cpu", torch.float32) * 5
    x[0, 0, 0, 0], x[0, 1, 0, 1], x[0, 2, 0, 2] = float("nan"), float("inf"), -float("inf")
    functions = {"none": lambda v: v, "relu": torch.relu, "relu6": torch.nn.functional.relu6}
    act = functions.get(activation, torch.nn.functional.silu)
    expected = act(torch.nn.functional.conv2d(x.double(), made.dense))
    y = gpu.conv_forward(x, made.weight, made.indptr, made.inputs, None, None, activation, case.conv)
    assert bool(expected.isnan().any())
    torch.testing.assert_close(y.double(), expected, rtol=1e-4, atol=1e-4, equal_nan=True)


def test_a_number_that_is_none_stays_with_who_reads_it() -> None:
    """Lanes that fill up a tile multiply zeros by zeros, never by what stands in memory beside."""
    case = Case(channels=2, kept=(1, 1), block=3, kernel=(3, 3), conv=conv(padding=(1, 1)), size=(4, 4), images=1)
    made = layer(case, "cpu", torch.float32)
    inputs = torch.tensor([0, 1], dtype=torch.int32)
    x = image((1, 2, 4, 4), "cpu", torch.float32)
    x[0, 1] = float("nan")
    y = gpu.conv_forward(x, made.weight, made.indptr, inputs, None, None, "none", case.conv)
    assert bool(y[:, :3].isfinite().all())
    assert bool(y[:, 3:].isnan().all())


def test_views_with_any_strides() -> None:
    case = Case(kernel=(3, 3), conv=conv(padding=(1, 1)))
    made = layer(case, "cpu", torch.float32)
    wide = image((4, 16, 10, 18), "cpu", torch.float32)
    x = wide[::2, ::2, ::2, 1::3].transpose(2, 3)
    expected = torch.nn.functional.conv2d(x.double(), made.dense, padding=1)
    close(gpu.conv_forward(x, made.weight, made.indptr, made.inputs, None, None, "none", case.conv), expected, 1e-5)
    grad = image((1, 1, 1, 1), "cpu", torch.float32).expand(expected.shape)
    dense = made.dense.clone().requires_grad_()
    torch.nn.functional.conv2d(x.double(), dense, padding=1).backward(grad.double())
    made_weight = gpu.conv_grad_weight(grad, x, made.indptr, made.inputs, tuple(made.weight.shape), case.conv)
    close(made_weight, kept_of(dense.grad, made), 1e-5)
