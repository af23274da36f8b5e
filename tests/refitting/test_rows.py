"""Layers as matrix products: rows times the logical weight are the layer's outputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import advisor
from advisor.patterns.layout import logical
from advisor.refitting.rows import rows_of, targets_of

CASES = [
    (nn.Linear(6, 5, bias=False), (4, 6)),
    (nn.Linear(6, 5, bias=False), (2, 3, 6)),
    (nn.Conv1d(4, 6, 3, padding=1, bias=False), (2, 4, 9)),
    (nn.Conv2d(4, 6, 3, padding="same", dilation=2, bias=False), (2, 4, 7, 8)),
    (nn.Conv2d(4, 6, (3, 1), stride=(2, 1), padding=(1, 0), bias=False), (2, 4, 7, 8)),
    (nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=False), (2, 4, 7, 7)),
    (nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False), (2, 4, 7, 7)),
    (nn.Conv2d(4, 6, 3, padding=2, padding_mode="circular", bias=False), (1, 4, 6, 6)),
    (nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect", bias=False), (1, 4, 6, 6)),
    (nn.Conv3d(2, 4, 3, stride=2, padding=1, bias=False), (1, 2, 5, 6, 7)),
    (nn.ConvTranspose1d(4, 6, 4, stride=2, padding=1, bias=False), (2, 4, 5)),
    (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, bias=False), (2, 4, 5, 4)),
    (nn.ConvTranspose2d(4, 6, 3, stride=(2, 3), dilation=2, groups=2, bias=False), (2, 4, 4, 5)),
    (nn.ConvTranspose2d(4, 6, 2, padding=3, bias=False), (1, 4, 9, 9)),
    (nn.ConvTranspose3d(2, 4, 2, stride=2, bias=False), (1, 2, 3, 4, 2)),
]


@pytest.mark.parametrize(("module", "shape"), CASES, ids=lambda case: str(case))
def test_rows_times_weight_are_the_outputs(module: nn.Module, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    module = module.double()
    x = torch.randn(shape, dtype=torch.float64)
    network = advisor.analyze(nn.Sequential(module), shape)
    layer = network.layer("0")
    weight = logical(module.weight.detach().numpy(), layer).reshape(
        layer.groups, layer.out_channels // layer.groups, -1
    )
    rows, targets = rows_of(module, x), targets_of(module, module(x).detach())
    found = rows @ torch.from_numpy(np.ascontiguousarray(weight)).transpose(1, 2)
    assert found.shape == targets.shape
    assert torch.allclose(found, targets, atol=1e-12)
