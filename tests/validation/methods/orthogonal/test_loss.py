"""The loss of a kernel is that of the convolution's whole matrix, at any stride, kernel, dilation and groups."""

import math
from math import prod

import pytest
import torch
import torch.nn.functional as F

from advisor.errors import AdvisorError
from tests.validation.methods.orthogonal.circulant import distance, matrix
from validation.methods.orthogonal import conv_orthogonality, kernel_orthogonality, minimum, singular_values


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def delta(channels: int, kernel: int) -> torch.Tensor:
    """The convolution that hands every channel on."""
    weight = torch.zeros(channels, channels, kernel, kernel, dtype=torch.float64)
    weight[:, :, kernel // 2, kernel // 2] = torch.eye(channels)
    return weight


def orthonormal(filters: int, channels: int, kernel: int, seed: int = 0) -> torch.Tensor:
    flat = torch.linalg.qr(normal(channels * kernel * kernel, filters, seed=seed)).Q.T
    return flat.reshape(filters, channels, kernel, kernel)


CASES = [  # M, C/groups, kernel, image, stride, dilation, groups
    (4, 2, (3, 3), (12, 12), (1, 1), (1, 1), 1),
    (4, 1, (3, 3), (12, 12), (2, 2), (1, 1), 1),
    (6, 1, (3, 3), (12, 12), (2, 2), (1, 1), 1),
    (3, 2, (5, 3), (9, 6), (1, 2), (1, 1), 1),
    (3, 2, (3, 5), (12, 9), (3, 1), (1, 1), 1),
    (4, 2, (2, 4), (4, 8), (1, 2), (1, 1), 1),
    (2, 3, (3, 3), (6, 9), (3, 3), (1, 1), 1),
    (2, 3, (1, 3), (4, 8), (2, 2), (1, 1), 1),
    (3, 2, (3, 3), (9, 9), (1, 1), (2, 1), 1),
    (3, 2, (3, 3), (10, 14), (2, 2), (2, 3), 1),
    (4, 2, (3, 3), (6, 6), (1, 1), (1, 1), 2),
    (4, 1, (3, 3), (6, 6), (2, 2), (1, 1), 4),
    (4, 2, (3,), (12,), (2,), (1,), 1),
    (2, 2, (3, 2, 1), (6, 4, 2), (1, 1, 2), (1, 1, 1), 1),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_the_explicit_matrix(case: tuple) -> None:
    filters, channels, kernel, image, stride, dilation, groups = case
    weight = normal(filters, channels, *kernel) / 3
    whole = matrix(weight, image, stride, dilation, groups)
    pixels = prod(n // s for n, s in zip(image, stride, strict=True))
    row = float(conv_orthogonality(weight, stride, dilation=dilation, groups=groups))
    assert row == pytest.approx(distance(whole @ whole.T, pixels), abs=1e-10)
    offset = filters - channels * groups * prod(stride)
    columns = distance(whole.T @ whole, pixels)
    assert row - offset == pytest.approx(columns, abs=1e-10)
    if all(math.gcd(s, d) == 1 for s, d in zip(stride, dilation, strict=True)):
        found = conv_orthogonality(weight, stride, dilation=dilation, groups=groups, side="column")
        assert float(found) == pytest.approx(columns, abs=1e-10)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_wide_case_on_a_12x12_image(stride: int) -> None:
    weight = normal(4, 2, 3, 3, seed=stride)
    whole = matrix(weight, (12, 12), (stride, stride))
    found = float(conv_orthogonality(weight, stride))
    assert found == pytest.approx(distance(whole @ whole.T, (12 // stride) ** 2), abs=1e-10)


@pytest.mark.parametrize(("filters", "channels", "stride", "offset"), [(4, 2, 1, 2), (12, 2, 2, 4), (2, 2, 2, -6)])
def test_row_and_column_differ_by_a_constant(filters: int, channels: int, stride: int, offset: int) -> None:
    for seed in range(3):
        weight = normal(filters, channels, 3, 3, seed=seed) / 2
        row, column = (conv_orthogonality(weight, stride, side=side) for side in ("row", "column"))
        assert float(row - column) == pytest.approx(offset, abs=1e-10)


@pytest.mark.parametrize(("rows", "columns"), [(5, 8), (8, 5)])
def test_the_lemma_for_any_matrix(rows: int, columns: int) -> None:
    weight = normal(rows, columns)
    found = [conv_orthogonality(weight, side=side) for side in ("row", "column")]
    assert float(found[0] - found[1]) == pytest.approx(rows - columns, abs=1e-10)
    assert [float(kernel_orthogonality(weight, side=side)) for side in ("row", "column")] == [
        pytest.approx(float(one), abs=1e-10) for one in found
    ]
    smaller = conv_orthogonality(weight, side="smaller")
    assert float(smaller) == pytest.approx(min(map(float, found)), abs=1e-10)


def with_fixed_padding(weight: torch.Tensor, stride: int) -> float:
    """What a padding of 1 at every stride, as in the authors' released code, gives for a 3x3 kernel."""
    found = F.conv2d(weight, weight, stride=stride, padding=1)
    target = torch.zeros_like(found)
    middle = found.shape[-1] // 2
    target[:, :, middle, middle] = torch.eye(len(weight))
    return float((found - target).norm())


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("squared", [True, False])
def test_a_delta_kernel_is_orthogonal(stride: int, squared: bool) -> None:
    weight = delta(4, 3).requires_grad_()
    loss = conv_orthogonality(weight, stride, squared=squared)
    loss.backward()
    assert float(loss.detach()) == 0
    assert weight.grad is not None
    assert not weight.grad.any(), "no NaN where the norm has a corner"
    # A test that the fixed padding passed at stride 2 would prove nothing.
    assert with_fixed_padding(delta(4, 3), stride) == {1: 0.0, 2: 2.0}[stride]


def test_one_tap_is_a_matrix() -> None:
    weight = normal(4, 6, 1, 1)
    flat = weight.flatten(1)
    wanted = float((flat @ flat.T - torch.eye(4)).square().sum())
    for stride in (1, 2):
        assert float(conv_orthogonality(weight, stride)) == pytest.approx(wanted, abs=1e-12)
    assert float(kernel_orthogonality(weight)) == pytest.approx(wanted, abs=1e-12)
    assert float(conv_orthogonality(weight, squared=False)) == pytest.approx(math.sqrt(wanted), abs=1e-12)


def test_windows_that_do_not_overlap_leave_the_flattened_kernel() -> None:
    weight = normal(5, 2, 3, 3)
    assert float(conv_orthogonality(weight, 3)) == pytest.approx(float(kernel_orthogonality(weight)), abs=1e-12)


def test_an_orthonormal_kernel_is_no_orthogonal_convolution() -> None:
    weight = orthonormal(4, 4, 3)
    assert float(kernel_orthogonality(weight)) < 1e-25
    assert float(conv_orthogonality(weight)) > 1


@pytest.mark.parametrize("stride", [1, 2])
def test_singular_values_are_one_where_the_loss_is_zero(stride: int) -> None:
    values = torch.linalg.svdvals(matrix(delta(3, 3), (8, 8), (stride, stride)))
    torch.testing.assert_close(values, torch.ones_like(values), rtol=0, atol=1e-12)
    torch.testing.assert_close(singular_values(delta(3, 3), 8, stride), values, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "sizes", "stride"),
    [
        ((3, 2, 3, 3), (6, 8), (1, 1)),
        ((5, 1, 3, 3), (6, 8), (2, 2)),
        ((3, 2, 3, 5), (6, 4), (3, 2)),
        ((2, 2, 3), (6,), (2,)),
    ],
)
def test_the_spectrum_by_frequencies_is_that_of_the_matrix(
    shape: tuple[int, ...], sizes: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    weight = normal(*shape)
    wanted = torch.linalg.svdvals(matrix(weight, sizes, stride))
    found = singular_values(weight, sizes, stride)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-10)


def test_training_on_the_loss_alone_makes_all_singular_values_one() -> None:
    weight = (normal(4, 2, 3, 3) / 4).requires_grad_()
    optimizer = torch.optim.Adam([weight], lr=0.03)
    for _ in range(300):
        optimizer.zero_grad()
        conv_orthogonality(weight, 2).backward()
        optimizer.step()
    values = torch.linalg.svdvals(matrix(weight.detach(), (8, 8), (2, 2)))
    torch.testing.assert_close(values, torch.ones_like(values), rtol=0, atol=5e-3)


@pytest.mark.parametrize(
    ("stride", "groups", "side", "squared"),
    [(1, 1, "row", True), (2, 1, "row", True), (2, 1, "column", True), (1, 2, "row", False), (2, 2, "smaller", False)],
)
def test_gradients(stride: int, groups: int, side: str, squared: bool) -> None:
    weight = normal(4, 2, 3, 3).requires_grad_()

    def loss(w: torch.Tensor) -> torch.Tensor:
        return conv_orthogonality(w, stride, groups=groups, side=side, squared=squared)  # type: ignore[arg-type]

    assert torch.autograd.gradcheck(loss, (weight,))
    assert torch.autograd.gradcheck(lambda w: kernel_orthogonality(w, groups=groups, squared=squared), (weight,))


@pytest.mark.parametrize(
    ("shape", "stride", "groups", "least"),
    [((6, 1, 3, 3), 2, 1, 2), ((5, 2, 3, 3), 1, 1, 3), ((6, 1, 3, 3), 1, 2, 4), ((4, 2, 3, 3), 2, 1, 0)],
)
def test_more_filters_than_inputs_leave_a_minimum(shape: tuple[int, ...], stride: int, groups: int, least: int) -> None:
    assert minimum(shape, stride, groups=groups) == least
    assert minimum(shape, stride, groups=groups, side="smaller") == 0
    weight = (normal(*shape) / 3).requires_grad_()
    optimizer = torch.optim.Adam([weight], lr=0.03)
    for _ in range(300):
        optimizer.zero_grad()
        conv_orthogonality(weight, stride, groups=groups).backward()
        optimizer.step()
    weight = weight.detach()
    assert float(conv_orthogonality(weight, stride, groups=groups)) == pytest.approx(least, abs=1e-3)
    assert float(conv_orthogonality(weight, stride, groups=groups, subtract_minimum=True)) == pytest.approx(0, abs=1e-3)


def test_kernels_narrower_than_the_stride_read_less() -> None:
    assert minimum((5, 2, 1, 3), (2, 2)) == 5 - 2 * 1 * 2
    assert minimum((5, 2, 1, 3), (2, 2), side="column") == 2 * 4 - 2 * 1 * 2
    assert minimum((12, 2, 1, 3), (2, 2), side="column") == 8 - 4
    assert minimum((8, 5)) == 3
    assert minimum((8, 5), side="column") == 0


def test_transposed_layers_are_the_transposed_matrix() -> None:
    weight = normal(3, 2, 3, 3)
    whole = matrix(weight, (6, 6), (2, 2))
    y = normal(1, 3, 3, 3, seed=1)
    # A transposed convolution spreads over 7x7; folding the border round makes it the circular one.
    spread = F.conv_transpose2d(y, weight, stride=2)
    folded = torch.zeros(1, 2, 6, 6, dtype=torch.float64)
    for h in range(7):
        for w in range(7):
            folded[..., h % 6, w % 6] += spread[..., h, w]
    torch.testing.assert_close(whole.T @ y.flatten(), folded.flatten())


def test_mistakes() -> None:
    weight = normal(4, 2, 3, 3)
    with pytest.raises(AdvisorError, match="got side='both', expected one of row, column, smaller"):
        conv_orthogonality(weight, side="both")  # type: ignore[arg-type]
    with pytest.raises(AdvisorError, match=r"got stride=\(1, 2, 3\), expected 2 numbers"):
        conv_orthogonality(weight, (1, 2, 3))
    with pytest.raises(AdvisorError, match="reads only part of the inputs"):
        conv_orthogonality(weight, 2, dilation=2, side="column")
    with pytest.raises(AdvisorError, match="subtract_minimum is for squared losses"):
        conv_orthogonality(weight, squared=False, subtract_minimum=True)
    with pytest.raises(AdvisorError, match="in 3 groups"):
        conv_orthogonality(weight, groups=3)
    with pytest.raises(AdvisorError, match="expected a multiple of it"):
        singular_values(weight, 7, 2)
