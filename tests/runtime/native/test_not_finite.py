"""NaN and infinity reach the outputs that read them, and no others."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from advisor.runtime import native
from tests.runtime.native.cases import ACTIVATIONS, Case, cases, isas, tiled
from tests.runtime.native.test_values import _grads

often = settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
picks = st.integers(0, 100)
sets = st.integers(0, 2).map(lambda n: isas()[n % len(isas())])
BAD = (float("nan"), float("inf"), float("-inf"))


def spoiled(x: torch.Tensor, seed: int, share: float = 0.05) -> torch.Tensor:
    """A copy with some values that are no numbers, in the same layout."""
    generator = torch.Generator().manual_seed(seed)
    where = torch.rand(x.shape, generator=generator) < share
    bad = torch.tensor(BAD)[torch.randint(3, x.shape, generator=generator)]
    return x.clone().masked_scatter_(where, bad[where]) if x.numel() else x


def by_kept(
    case: Case, x: torch.Tensor, dense: torch.Tensor, indptr: torch.Tensor, inputs: torch.Tensor
) -> torch.Tensor:
    """The convolution of each block's kept channels alone: a masked weight would turn infinity times 0 to NaN."""
    parts = []
    for b in range(case.blocks):
        kept = inputs[indptr[b] : indptr[b + 1]].long()
        rows = dense[b * case.block : (b + 1) * case.block]
        if len(kept):
            part = case.expected(x[:, kept], rows[:, kept])[:, : case.block]
        else:
            part = torch.zeros(case.out_shape(), dtype=torch.float64)[:, : case.block]
        parts.append(part)
    return torch.cat(parts, 1)


def assert_same_kinds(got: torch.Tensor, expected: torch.Tensor) -> None:
    for kind in (torch.isnan, torch.isposinf, torch.isneginf):
        assert torch.equal(kind(got), kind(expected)), kind.__name__
    finite = torch.isfinite(expected)
    torch.testing.assert_close(got[finite].double(), expected[finite], rtol=1e-4, atol=1e-4)


@often
@given(
    case=cases(density=0.4),
    isa=sets,
    pick=picks,
    activation=st.sampled_from(("none", "relu", "relu6")),
    added=st.booleans(),
)
def test_forward(case: Case, isa: str, pick: int, activation: str, added: bool) -> None:
    x, layer = spoiled(case.x(), case.seed), case.layer()
    residual = spoiled(case.tensor(*case.out_shape(), salt=4), case.seed + 1) if added else None
    with tiled(isa, pick):
        got = native.conv_forward(x, *layer, None, residual, activation, case.conv)
    expected = by_kept(case, x, case.dense(*layer), *layer[1:])
    if residual is not None:
        expected = expected + residual.double()
    assert_same_kinds(got, ACTIVATIONS[activation](expected))


@often
@given(case=cases(density=0.4), isa=sets, pick=picks)
def test_gradient_of_the_input(case: Case, isa: str, pick: int) -> None:
    """An input takes from the blocks that read it."""
    grad, (weight, indptr, inputs) = spoiled(case.tensor(*case.out_shape(), salt=5), case.seed), case.layer()
    shape = (case.batch, case.channels, *case.size)
    with tiled(isa, pick):
        got = native.conv_grad_input(grad, weight, indptr, inputs, shape, case.conv)
    dense, found = case.dense(weight, indptr, inputs), torch.zeros(shape, dtype=torch.float64)
    for b in range(case.blocks):
        part = slice(b * case.block, (b + 1) * case.block)
        kept = inputs[indptr[b] : indptr[b + 1]].long()
        for c in kept.tolist():
            found[:, c] += reached(case, dense[part, c], grad[:, part], shape)
    assert_same_kinds(got, found)


def reached(case: Case, taps: torch.Tensor, grad: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """What one input channel gets from one block: summed tap by tap, so that nothing is multiplied by a zero."""
    (h, w), (sh, sw), (dh, dw) = case.padding, case.stride, case.dilation
    whole = torch.zeros(shape[0], shape[2] + 2 * h, shape[3] + 2 * w, dtype=torch.float64)
    high, wide = grad.shape[2:]
    for ky in range(taps.shape[1]):
        for kx in range(taps.shape[2]):
            rows = slice(ky * dh, ky * dh + (high - 1) * sh + 1, sh)
            columns = slice(kx * dw, kx * dw + (wide - 1) * sw + 1, sw)
            if high and wide:
                for o in range(taps.shape[0]):
                    whole[:, rows, columns] += grad[:, o].double() * taps[o, ky, kx]
    return whole[:, h : h + shape[2], w : w + shape[3]]


@often
@given(case=cases(density=0.4, batch=1), isa=sets, pick=picks, spoil=st.sampled_from(("x", "grad")))
def test_gradient_of_the_weight(case: Case, isa: str, pick: int, spoil: str) -> None:
    weight, indptr, inputs = case.layer()
    x, grad = case.x(), case.tensor(*case.out_shape(), salt=5)
    bad = spoiled(x if spoil == "x" else grad, case.seed, 0.01)
    x, grad = (bad, grad) if spoil == "x" else (x, bad)
    with tiled(isa, pick):
        got = native.conv_grad_weight(grad, x, indptr, inputs, tuple(weight.shape), case.conv)
    expected = case.kept(_grads(case, x, case.dense(weight, indptr, inputs), grad)[1], indptr, inputs)
    assert_same_kinds(got, expected)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3)])
@pytest.mark.parametrize("block", [1, 4])
def test_activations_of_what_is_no_number(activation: str, kernel: tuple[int, int], block: int) -> None:
    """As torch has them: NaN stays, an infinity becomes what the formula says."""
    values = torch.tensor([*BAD, 0.0, -0.0, 1e30, -1e38, 88.0, -88.0, -104.0, 6.0, 3e-39])
    case = Case(
        channels=2, block=block, blocks=1, kernel=kernel, padding=(kernel[0] // 2,) * 2, size=(3, 4), density=0.0
    )
    residual = values.view(1, 1, 3, 4).expand(case.batch, case.outputs, 3, 4)
    got = native.conv_forward(case.x(), *case.layer(), None, residual, activation, case.conv)
    assert_same_kinds(got, ACTIVATIONS[activation](residual).double())
