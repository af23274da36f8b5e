"""Every call of the kernels against dense float64, whatever the shape and tiling."""

from __future__ import annotations

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from advisor.runtime import native
from tests.runtime.native.cases import ACTIVATIONS, LAYOUTS, Case, assert_close, cases, isas, tiled

# The fixture only sets the environment, which no example changes.
often = settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
picks = st.integers(0, 100)
sets = st.integers(0, 2).map(lambda n: isas()[n % len(isas())])
threads = st.sampled_from((1, 1, 2, 3))


@often
@given(
    case=cases(),
    isa=sets,
    pick=picks,
    count=threads,
    biased=st.booleans(),
    added=st.sampled_from((None, *LAYOUTS)),
    activation=st.sampled_from(tuple(ACTIVATIONS)),
)
def test_forward(case: Case, isa: str, pick: int, count: int, biased: bool, added: str | None, activation: str) -> None:
    torch.set_num_threads(count)
    layer, x = case.layer(), case.x()
    bias = case.tensor(case.outputs, salt=3) if biased else None
    residual = LAYOUTS[added](case.tensor(*case.out_shape(), salt=4)) if added else None
    with tiled(isa, pick):
        got = native.conv_forward(x, *layer, bias, residual, activation, case.conv)
    dense = case.dense(*layer)
    expected, sums = case.expected(x, dense), case.expected(x.abs(), dense.abs())
    for more in (None if bias is None else bias[:, None, None], residual):
        if more is not None:
            expected, sums = expected + more.double(), sums + more.double().abs()
    assert_close(got, ACTIVATIONS[activation](expected), sums)
    last = x.stride(1) == 1 and x.shape[1] > 1 and not x.is_contiguous()
    if last and case.outputs > 1 and got.numel():
        assert got.is_contiguous(memory_format=torch.channels_last)


@often
@given(case=cases(), isa=sets, pick=picks, count=threads)
def test_gradient_of_the_input(case: Case, isa: str, pick: int, count: int) -> None:
    torch.set_num_threads(count)
    layer = case.layer()
    grad = LAYOUTS[case.layout](case.tensor(*case.out_shape(), salt=5))
    shape = (case.batch, case.channels, *case.size)
    with tiled(isa, pick):
        got = native.conv_grad_input(grad, *layer, shape, case.conv)
    dense = case.dense(*layer)
    assert_close(
        got,
        _grads(case, torch.zeros(shape), dense, grad)[0],
        _grads(case, torch.zeros(shape), dense.abs(), grad.abs())[0],
    )


@often
@given(case=cases(), isa=sets, pick=picks, count=threads, order=st.sampled_from(tuple(LAYOUTS)))
def test_gradient_of_the_weight(case: Case, isa: str, pick: int, count: int, order: str) -> None:
    torch.set_num_threads(count)
    weight, indptr, inputs = case.layer()
    x, grad = case.x(), LAYOUTS[order](case.tensor(*case.out_shape(), salt=5))
    with tiled(isa, pick):
        got = native.conv_grad_weight(grad, x, indptr, inputs, tuple(weight.shape), case.conv)
    dense = case.dense(weight, indptr, inputs)
    expected = case.kept(_grads(case, x, dense, grad)[1], indptr, inputs)
    assert_close(got, expected, case.kept(_grads(case, x.abs(), dense, grad.abs())[1], indptr, inputs))


@often
@given(
    rows=st.sampled_from((1, 2, 5, 17, 64, 0)),
    case=cases(kernel=(1, 1), stride=(1, 1), padding=(0, 0), dilation=(1, 1), size=(1, 1)),
    isa=sets,
    pick=picks,
    view=st.sampled_from(("plain", "transposed", "every other", "expanded")),
    activation=st.sampled_from(tuple(ACTIVATIONS)),
)
def test_linear(rows: int, case: Case, isa: str, pick: int, view: str, activation: str) -> None:
    weight, indptr, inputs = case.layer()
    flat, bias = weight[:, 0, 0], case.tensor(case.outputs, salt=3)
    x, grad = (_seen(case.tensor(rows, n, salt=n), view) for n in (case.channels, case.outputs))
    dense = case.dense(weight, indptr, inputs)[:, :, 0, 0]
    with tiled(isa, pick):
        out = native.linear_forward(x, flat, indptr, inputs, bias, activation)
        back = native.linear_grad_input(grad, flat, indptr, inputs, case.channels)
        step = native.linear_grad_weight(grad, x, indptr, inputs, tuple(flat.shape))
    wide, steep = x.double(), grad.double()
    sums = wide.abs() @ dense.abs().T + bias.double().abs()
    assert_close(out, ACTIVATIONS[activation](wide @ dense.T + bias.double()), sums)
    assert_close(back, steep @ dense, steep.abs() @ dense.abs())
    expected, sums = ((g.T @ v)[:, :, None, None] for g, v in ((steep, wide), (steep.abs(), wide.abs())))
    assert_close(step, case.kept(expected, indptr, inputs)[:, 0, 0], case.kept(sums, indptr, inputs)[:, 0, 0])


def _seen(x: torch.Tensor, view: str) -> torch.Tensor:
    if view == "transposed":
        return x.T.contiguous().T
    if view == "every other":
        return x.repeat_interleave(2, 1)[:, ::2]
    return x[:1].expand(x.shape) if view == "expanded" else x


def _grads(case: Case, x: torch.Tensor, dense: torch.Tensor, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    x, dense = x.double().detach().requires_grad_(), dense.detach().requires_grad_()
    if grad.numel() == 0:
        return torch.zeros_like(x), torch.zeros_like(dense)
    found = torch.autograd.grad(case.expected(x, dense), (x, dense), grad.double())
    return found[0], found[1]
