"""What does not belong together is refused in one line, before compiled code sees it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from advisor.errors import AdvisorError, KernelError
from advisor.runtime import native
from advisor.runtime.native import calls
from tests.runtime.native.cases import Case

CASE = Case(size=(6, 6))


def ints(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int32)


def forward(**changed: Any) -> torch.Tensor:
    weight, indptr, inputs = CASE.layer()
    words: dict[str, Any] = {
        "x": CASE.x(),
        "weight": weight,
        "indptr": indptr,
        "inputs": inputs,
        "bias": CASE.tensor(CASE.outputs),
        "residual": CASE.tensor(*CASE.out_shape()),
        "activation": "relu",
        "conv": CASE.conv,
    }
    return native.conv_forward(**{**words, **changed})


def test_what_the_others_change_is_right() -> None:
    assert forward().shape == CASE.out_shape()


ROWS = len(CASE.lists()[1])
FEW = torch.randn(2, 3, 3, 4)
WRONG: dict[str, dict[str, Any]] = {
    "x of three axes": {"x": torch.randn(6, 6, 6)},
    "x in float64": {"x": CASE.x().double()},
    "x on meta": {"x": CASE.x().to("meta")},
    "x with too few channels": {"x": torch.randn(2, 3, 6, 6)},
    "x smaller than the kernel": {"x": torch.randn(2, 6, 1, 6), "conv": native.Conv(dilation=(2, 2)), "residual": None},
    "weight of two axes": {"weight": torch.randn(ROWS, 4)},
    "weight in float16": {"weight": CASE.layer()[0].half()},
    "weight of other rows": {"weight": torch.randn(ROWS + 1, 3, 3, 4)},
    "bias of another length": {"bias": torch.randn(CASE.outputs + 1)},
    "bias in float64": {"bias": torch.randn(CASE.outputs).double()},
    "residual of another shape": {"residual": torch.randn(2, CASE.outputs, 6, 5)},
    "residual in float64": {"residual": torch.randn(CASE.out_shape()).double()},
    "unknown activation": {"activation": "gelu"},
    "indptr in int64": {"indptr": CASE.lists()[0].long()},
    "inputs in int64": {"inputs": CASE.lists()[1].long()},
    "empty indptr": {"indptr": ints()},
    "input beyond the last": {"inputs": ints(0, 6), "indptr": ints(0, 1, 2), "weight": FEW},
    "input far beyond": {"inputs": ints(0, 2**31 - 1), "indptr": ints(0, 1, 2), "weight": FEW},
    "negative input": {"inputs": ints(-1, 3), "indptr": ints(0, 1, 2), "weight": FEW},
    "indptr falls": {"inputs": ints(0, 3), "indptr": ints(0, 3, 2), "weight": FEW},
    "indptr starts late": {"inputs": ints(0, 3), "indptr": ints(1, 1, 2), "weight": FEW},
    "indptr below zero": {"inputs": ints(0, 3), "indptr": ints(0, -1, 2), "weight": FEW},
    "indptr ends late": {"inputs": ints(0, 3), "indptr": ints(0, 1, 3), "weight": FEW},
    "indptr ends early": {"inputs": ints(0, 3), "indptr": ints(0, 1, 1), "weight": FEW},
}


@pytest.mark.parametrize("what", WRONG)
def test_forward_refuses(what: str) -> None:
    with pytest.raises(KernelError) as caught:
        forward(**WRONG[what])
    assert isinstance(caught.value, AdvisorError)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("twice", [False, True])
def test_refusal_does_not_depend_on_a_call_before(twice: bool) -> None:
    """Calls with shapes that were seen before skip some checks, but not that of the lists."""
    good = {"indptr": ints(0, 1, 2), "weight": FEW}
    if twice:
        forward(inputs=ints(0, 3), **good)
    with pytest.raises(KernelError):
        forward(inputs=ints(0, 6), **good)
    with pytest.raises(KernelError):
        forward(inputs=ints(0, 3), **{**good, "indptr": ints(0, 1, 3)})


def test_gradients_refuse() -> None:
    weight, indptr, inputs = CASE.layer()
    x, grad, shape = CASE.x(), CASE.tensor(*CASE.out_shape()), tuple(weight.shape)
    wrong_grad, other = grad[:, :-1], ints(*[99] * ROWS)
    calls = {
        "grad of another shape": lambda: native.conv_grad_input(wrong_grad, weight, indptr, inputs, x.shape, CASE.conv),
        "grad in float64": lambda: native.conv_grad_input(grad.double(), weight, indptr, inputs, x.shape, CASE.conv),
        "input of three axes": lambda: native.conv_grad_input(grad, weight, indptr, inputs, (6, 6, 6), CASE.conv),
        "inputs outside": lambda: native.conv_grad_input(grad, weight, indptr, other, x.shape, CASE.conv),
        "weight: grad": lambda: native.conv_grad_weight(wrong_grad, x, indptr, inputs, shape, CASE.conv),
        "weight: x in float64": lambda: native.conv_grad_weight(grad, x.double(), indptr, inputs, shape, CASE.conv),
        "weight: inputs outside": lambda: native.conv_grad_weight(grad, x, indptr, other, shape, CASE.conv),
        "weight: rows": lambda: native.conv_grad_weight(grad, x, indptr, inputs, (ROWS + 1, *shape[1:]), CASE.conv),
    }
    for what, call in calls.items():
        with pytest.raises(KernelError) as caught:
            call()
        assert "\n" not in str(caught.value), what


def test_linear_refuses() -> None:
    weight, indptr, inputs = torch.randn(2, 4), ints(0, 1, 2), ints(0, 3)
    x, grad = torch.randn(5, 6), torch.randn(5, 8)
    assert native.linear_forward(x, weight, indptr, inputs, None, "none").shape == (5, 8)
    for call in (
        lambda: native.linear_forward(x[0], weight, indptr, inputs, None, "none"),
        lambda: native.linear_forward(x[:, :3], weight, indptr, inputs, None, "none"),
        lambda: native.linear_forward(x, weight[None], indptr, inputs, None, "none"),
        lambda: native.linear_grad_input(grad[:, :7], weight, indptr, inputs, 6),
        lambda: native.linear_grad_input(grad, weight, indptr, inputs, 3),
        lambda: native.linear_grad_weight(grad[:4], x, indptr, inputs, (2, 4)),
    ):
        with pytest.raises(KernelError):
            call()


def test_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADVISOR_NATIVE", "0")
    calls.forget()
    assert not native.available()
    assert native.isa() == ""
    with pytest.raises(KernelError, match="ADVISOR_NATIVE=0"):
        forward()


DEGENERATE = {
    "no input channels": "conv_forward(zeros(2, 0, 7, 9), zeros(0, 3, 3, 4), ints([0, 0, 0]), ints([]), *rest)",
    "a kernel without taps": "conv_forward(zeros(2, 3, 7, 9), zeros(1, 0, 3, 4), ints([0, 1]), ints([2]), *rest)",
    "stride 0": "conv_forward(zeros(2, 3, 7, 9), zeros(1, 3, 3, 4), ints([0, 1]), ints([2]), *rest[:3], Conv((0, 1)))",
}


@pytest.mark.parametrize("what", DEGENERATE)
def test_degenerate_shapes_do_not_end_the_process(what: str) -> None:
    program = (
        "import torch; from torch import zeros; from advisor.errors import KernelError\n"
        "from advisor.runtime.native import Conv, conv_forward\n"
        "ints = lambda v: torch.tensor(v, dtype=torch.int32); rest = (None, None, 'none', Conv(padding=(1, 1)))\n"
        f"try: print({DEGENERATE[what]}.abs().sum())\nexcept KernelError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_lazily_negated_values() -> None:
    x = CASE.x()
    negated = torch.imag(torch.complex(torch.zeros_like(x), -x).conj())
    assert negated.is_neg()
    assert torch.equal(negated, x)
    assert torch.equal(forward(x=negated), forward(x=x))
