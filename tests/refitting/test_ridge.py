"""Least squares over kept weights, against NumPy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from advisor.refitting.ridge import Moments, fit


def drawn(rows: int = 200, inputs: int = 6, outputs: int = 4) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, inputs, generator=generator, dtype=torch.float64) + 0.5
    mix = torch.randn(inputs, inputs, generator=generator, dtype=torch.float64)
    x = x @ mix  # inputs that know of each other
    y = x @ torch.randn(inputs, outputs, generator=generator, dtype=torch.float64) + 1.5
    mask = np.array([[1, 1, 0, 0, 1, 0], [1, 1, 0, 0, 1, 0], [0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]], dtype=np.bool_)
    return x, y, mask


def moments(x: torch.Tensor, y: torch.Tensor) -> Moments:
    found = Moments.empty(x.shape[1], y.shape[1])
    found.add(x[:120], y[:120])
    found.add(x[120:], y[120:])
    return found


def test_without_a_pull_it_is_least_squares_on_each_support() -> None:
    x, y, mask = drawn()
    found = fit(moments(x, y), mask, torch.zeros(4, 6, dtype=torch.float64), 1e-12)
    for row, support in enumerate(mask):
        assert (found[row][~torch.from_numpy(support)] == 0).all()
        if support.any():
            exact = np.linalg.lstsq(x.numpy()[:, support], y.numpy()[:, row], rcond=None)[0]
            assert found[row].numpy()[support] == pytest.approx(exact, rel=1e-6)


def test_error_is_that_of_the_rows_and_never_rises() -> None:
    x, y, mask = drawn()
    before = torch.from_numpy(mask * np.random.default_rng(1).normal(size=mask.shape))
    sums = moments(x, y)
    assert sums.errors(before).numpy() == pytest.approx((x @ before.T - y).square().sum(0).numpy())
    for ridge in (1e-6, 1e-2, 1.0, 100.0):
        assert (sums.errors(fit(sums, mask, before, ridge)) <= sums.errors(before)).all()
    assert fit(sums, mask, before, 1e12).numpy() == pytest.approx(before.numpy(), abs=1e-6)


def test_centred_sums_are_those_of_centred_rows() -> None:
    x, y, _ = drawn()
    found, exact = moments(x, y).centred(), moments(x - x.mean(0), y - y.mean(0))
    assert torch.allclose(found.gram, exact.gram)
    assert torch.allclose(found.cross, exact.cross)
    assert torch.allclose(found.square, exact.square)


def test_inputs_without_a_signal_leave_the_weights_alone() -> None:
    sums = Moments.empty(2, 1)
    sums.add(torch.zeros(5, 2), torch.ones(5, 1))
    before = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    assert torch.equal(fit(sums, np.ones((1, 2), dtype=np.bool_), before, 1e-3), before)
