"""Statistics of batch norm: fresh ones are known, measured ones are those of the data."""

from __future__ import annotations

import torch
from torch import nn

from advisor.examples.norms import are_fresh, by_batch, measure_norms


def test_fresh_statistics_are_told_from_trained_ones() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 4), nn.BatchNorm1d(4))
    assert are_fresh(model)
    model.eval()(torch.randn(8, 3))
    assert are_fresh(model)
    model.train()(torch.randn(8, 3))
    model[1].num_batches_tracked.zero_()  # as older checkpoints leave it
    assert not are_fresh(model)
    assert not are_fresh(nn.Linear(3, 3))
    assert not are_fresh(nn.BatchNorm1d(4, track_running_stats=False))


def test_measured_statistics_are_averages_and_nothing_else_moves() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3, momentum=0.5), nn.Dropout())
    batches = [torch.randn(16, 3) + 5, torch.randn(16, 3) - 1]

    def passes() -> None:
        assert not model[1].training
        for batch in batches:
            model(batch)

    assert measure_norms(model, passes) == 1
    assert torch.allclose(model[0].running_mean, torch.stack([b.mean(0) for b in batches]).mean(0), atol=1e-6)
    assert torch.allclose(model[0].running_var, torch.stack([b.var(0) for b in batches]).mean(0), atol=1e-6)
    assert model[0].momentum == 0.5
    assert not model[0].training
    assert measure_norms(nn.Linear(2, 2), passes) == 0


def test_by_batch_normalises_by_the_batch_and_updates_nothing() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3)).eval()
    by_batch(model)
    found = model(torch.randn(32, 3) * 3 + 7)
    assert torch.allclose(found.mean(0), torch.zeros(3), atol=1e-5)
    assert (model[0].running_mean == 0).all()
    assert model[0].num_batches_tracked == 0
