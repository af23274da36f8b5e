"""Row convolutions equal torch's two-dimensional ones, and count the pairs that a brute-force search finds."""

from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import advisor
from advisor.devices.simulated.rows import (
    Geometry,
    forward,
    gradient_to_inputs,
    gradient_to_weights,
    src_row,
    training_macs,
)
from advisor.errors import AdvisorError

CASES = [
    (Geometry(), (3, 7, 6), (4, 3, 3, 3)),
    (Geometry(padding=(1, 1)), (3, 6, 7), (4, 3, 3, 3)),
    (Geometry(stride=(2, 3), padding=(1, 2)), (2, 8, 9), (3, 2, 3, 5)),
    (Geometry(dilation=(2, 1), padding=(2, 0)), (2, 7, 6), (3, 2, 3, 2)),
    (Geometry(groups=2, stride=(2, 2)), (4, 7, 7), (6, 2, 3, 3)),
    (Geometry(), (3, 4, 5), (2, 3, 1, 1)),
]


def thinned(shape: tuple[int, ...], density: float, seed: int) -> np.ndarray:
    made = np.random.Generator(np.random.PCG64(seed))
    return made.standard_normal(shape) * (made.random(shape) < density)


def settings(geometry: Geometry) -> dict[str, object]:
    return {
        "stride": geometry.stride,
        "padding": geometry.padding,
        "dilation": geometry.dilation,
        "groups": geometry.groups,
    }


def made(case: int, density: float = 0.5) -> tuple[Geometry, np.ndarray, np.ndarray, np.ndarray]:
    """Geometry, I, W and dO."""
    geometry, inputs, weight = CASES[case]
    output = (weight[0], *(geometry.size(inputs[axis + 1], weight[axis + 2], axis) for axis in (0, 1)))
    return geometry, thinned(inputs, density, 1), thinned(weight, 1, 2), thinned(output, density, 3)


def pairs(geometry: Geometry, inputs: np.ndarray, gradient: np.ndarray, kernel: tuple[int, ...]) -> int:
    """Pairs of a true position of `inputs` and one of `gradient` within the kernel's reach, one by one."""
    count = 0
    per_group = len(gradient) // geometry.groups, len(inputs) // geometry.groups
    for m, y, x, c in product(*(range(size) for size in gradient.shape), range(per_group[1])):
        channel = m // per_group[0] * per_group[1] + c
        for i, j in product(range(kernel[0]), range(kernel[1])):
            h = y * geometry.stride[0] + i * geometry.dilation[0] - geometry.padding[0]
            w = x * geometry.stride[1] + j * geometry.dilation[1] - geometry.padding[1]
            inside = 0 <= h < inputs.shape[1] and 0 <= w < inputs.shape[2]
            count += bool(inside and inputs[channel, h, w] and gradient[m, y, x])
    return count


@pytest.mark.parametrize("case", range(len(CASES)))
def test_values_are_those_of_torch(case: int) -> None:
    geometry, inputs, weight, gradient = made(case)
    mask = inputs != 0
    x = torch.tensor(inputs[None], requires_grad=True)
    w = torch.tensor(weight, requires_grad=True)
    y = F.conv2d(x, w, **settings(geometry))
    np.testing.assert_allclose(forward(inputs, weight, geometry).values, y[0].detach(), atol=1e-12)
    y.backward(torch.tensor(gradient[None]))
    assert x.grad is not None
    assert w.grad is not None
    found = gradient_to_inputs(gradient, weight, mask, geometry).values
    np.testing.assert_allclose(found, x.grad[0].numpy() * mask, atol=1e-12)
    found = gradient_to_weights(gradient, inputs, weight.shape[2:], geometry).values
    np.testing.assert_allclose(found, w.grad, atol=1e-12)


@pytest.mark.parametrize("case", range(len(CASES)))
def test_the_gradient_to_activations_is_a_transposed_convolution(case: int) -> None:
    geometry, inputs, weight, gradient = made(case)
    short = [
        inputs.shape[axis + 1]
        - ((gradient.shape[axis + 1] - 1) * geometry.stride[axis] - 2 * geometry.padding[axis])
        - geometry.dilation[axis] * (weight.shape[axis + 2] - 1)
        - 1
        for axis in (0, 1)
    ]
    wanted = F.conv_transpose2d(
        torch.tensor(gradient[None]), torch.tensor(weight), output_padding=short, **settings(geometry)
    )
    found = gradient_to_inputs(gradient, weight, np.ones(inputs.shape, bool), geometry).values
    np.testing.assert_allclose(found, wanted[0], atol=1e-12)


@pytest.mark.parametrize("case", range(len(CASES)))
@pytest.mark.parametrize("density", [0.2, 0.7])
def test_counters_are_the_pairs_of_a_search(case: int, density: float) -> None:
    geometry, inputs, weight, gradient = made(case, density)
    mask = thinned(inputs.shape, 0.4, 9) != 0
    kernel = weight.shape[2:]
    everywhere = np.ones(gradient.shape), np.ones(inputs.shape)
    assert forward(inputs, weight, geometry).macs == pairs(geometry, inputs, everywhere[0], kernel)
    assert gradient_to_inputs(gradient, weight, mask, geometry).macs == pairs(geometry, mask, gradient, kernel)
    assert gradient_to_weights(gradient, inputs, kernel, geometry).macs == pairs(geometry, inputs, gradient, kernel)


@pytest.mark.parametrize("case", range(len(CASES)))
@pytest.mark.parametrize("density", [0.3, 0.5, 1.0])
def test_msrc_and_osrc_count_the_same_pairs(case: int, density: float) -> None:
    geometry, inputs, weight, gradient = made(case, density)
    first = gradient_to_inputs(gradient, weight, inputs != 0, geometry).macs
    assert first == gradient_to_weights(gradient, inputs, weight.shape[2:], geometry).macs
    assert first > 0


@pytest.mark.parametrize("case", range(len(CASES)))
def test_a_dense_step_is_three_forwards_and_two_in_the_first_layer(case: int) -> None:
    geometry, inputs, weight, gradient = made(case, 1.0)
    alone = forward(inputs, weight, geometry).macs
    assert training_macs(inputs, weight, gradient, np.ones(inputs.shape, bool), geometry) == (alone,) * 3
    assert training_macs(inputs, weight, gradient, None, geometry) == (alone, 0, alone)


def test_without_padding_a_dense_forward_is_what_analyze_counts() -> None:
    conv = nn.Conv2d(4, 6, 3, stride=2, groups=2)
    counted = advisor.analyze(conv, torch.zeros(1, 4, 7, 7)).macs
    geometry, inputs, weight, _ = made(4, 1.0)
    assert forward(inputs, weight, geometry).macs == counted


def test_an_inner_nonzero_meets_the_whole_kernel_row() -> None:
    output = np.zeros(8)
    assert src_row(np.eye(10)[4], np.ones(3), output, Geometry()) == 3
    assert output.sum() == 3


def test_shapes_that_do_not_belong_together() -> None:
    geometry, inputs, weight, gradient = made(0)
    with pytest.raises(AdvisorError, match=r"got input \(2, 7, 6\) and weight \(4, 3, 3, 3\) in 1 groups"):
        forward(inputs[:2], weight)
    with pytest.raises(AdvisorError, match="does not fit into an input"):
        forward(inputs[:, :2], weight)
    with pytest.raises(AdvisorError, match=r"got dO of \(4, 5, 3\), expected \(4, 5, 4\)"):
        gradient_to_weights(gradient[..., :3], inputs, (3, 3), geometry)
