"""The penalty in training: which layers, which form, what it says of layers that cannot be orthogonal."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import advisor
from advisor.errors import AdvisorError
from advisor.network import Layer, Network
from tests.plans.samples import SHAPE, masked_copy, small, small_plan
from tests.validation.methods.runs import run_of
from validation.methods.orthogonal import (
    Orthogonality,
    OrthogonalSettings,
    cautions,
    conv_orthogonality,
    existence,
    kernel_orthogonality,
    regularised,
)


def network() -> tuple[nn.Sequential, Network]:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 12, 1),
        nn.Flatten(),
        nn.Linear(192, 4),
    )
    return net, advisor.analyze(net, torch.zeros(1, 3, 8, 8))


def test_the_penalty_is_the_sum_over_all_but_the_image_convolution() -> None:
    net, analysed = network()
    layers = regularised(analysed)
    assert [layer.name for layer in layers] == ["2", "4"]
    one, two = net[2].weight, net[4].weight
    for squared in (True, False):
        found = Orthogonality(net, layers, strength=0.5, squared=squared).penalty()
        wanted = conv_orthogonality(one, 2, squared=squared) + conv_orthogonality(two, side="column", squared=squared)
        torch.testing.assert_close(found, 0.5 * wanted)
        found = Orthogonality(net, layers, strength=0.5, squared=squared, form="kernel").penalty()
        wanted = kernel_orthogonality(one, squared=squared) + kernel_orthogonality(two, side="column", squared=squared)
        torch.testing.assert_close(found, 0.5 * wanted)
    assert [layer.name for layer in regularised(analysed, linear=True)] == ["2", "4", "6"]


def test_training_on_it_makes_the_convolutions_orthogonal() -> None:
    net, analysed = network()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    run = run_of(net, analysed, optimizer=optimizer)
    method = OrthogonalSettings(strength=1, squared=True, linear=True).attach(run)
    before = method.after_epoch()["orthogonality_distance"]
    for _ in range(150):
        optimizer.zero_grad()
        method.penalty().backward()
        optimizer.step()
    outcome = method.finish()
    assert before > 5
    assert outcome.numbers["orthogonality_distance"] < 0.05
    assert outcome.numbers["orthogonality_layers"] == 3
    assert outcome.numbers["orthogonality_step_ms"] > 0
    assert outcome.notes == (
        "2: pads with zeros: orthogonality is that of circular padding, and holds away from the border",
    )


def test_sparse_layers_are_judged_by_their_dense_weight() -> None:
    for dtype in (torch.float64, torch.float32):
        model, plan = small(dtype=dtype), small_plan()
        layers = regularised(advisor.analyze(model, torch.zeros(SHAPE, dtype=dtype)))
        assert [layer.name for layer in layers] == ["grouped", "up", "point"]
        sparse = plan.apply(model)
        penalty = Orthogonality(sparse, layers).penalty()
        penalty.backward()
        torch.testing.assert_close(penalty, Orthogonality(masked_copy(plan, model), layers).penalty())
        assert Orthogonality(sparse, layers).step_ms() > 0


def test_half_precision_is_judged_in_float32() -> None:
    net, analysed = network()
    layers = regularised(analysed)
    wanted = Orthogonality(net, layers).penalty()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(Orthogonality(net, layers).penalty(), wanted)
    assert Orthogonality(net.bfloat16(), layers).penalty().dtype == torch.float32


def layer(net: nn.Module, shape: tuple[int, ...]) -> Layer:
    return advisor.analyze(net, torch.zeros(shape)).sparsifiable[0]


def test_existence() -> None:
    wide = layer(nn.Conv2d(4, 8, 3, stride=2), (1, 4, 9, 9))
    assert existence(wide) == ""
    assert existence(replace(wide, weight_shape=(20, 4, 3, 3))) == "", "columns: 3x3 covers a stride of 2"
    one = replace(wide, weight_shape=(5, 4, 1, 1))
    assert existence(one) == "5 filters of 4 weights: no more than 4 can be orthogonal"
    assert existence(replace(one, weight_shape=(4, 4, 1, 1))) == ""
    assert "wider than the kernel (1, 1)" in existence(replace(one, weight_shape=(20, 4, 1, 1)))
    dilated = replace(wide, dilation=(2, 2))
    assert existence(replace(dilated, weight_shape=(4, 4, 3, 3))) == ""
    assert "reads 4 of 16 inputs" in existence(dilated)
    assert "leaves inputs that no tap reads" in existence(replace(dilated, weight_shape=(20, 4, 3, 3)))
    grouped = layer(nn.Conv2d(4, 8, 3, groups=4), (1, 4, 9, 9))
    assert existence(grouped) == ""
    assert "in each group" in existence(replace(grouped, weight_shape=(8, 1, 1, 1), stride=(2, 2)))
    assert existence(layer(nn.Linear(4, 9), (1, 4))) == ""


def test_cautions() -> None:
    found = cautions(layer(nn.Conv2d(4, 16, 2, stride=2, padding=1), (1, 4, 8, 8)))
    assert [text.split(":")[0] for text in found] == ["pads with zeros", "M = S^2 C", "an even kernel"]
    assert cautions(layer(nn.Conv2d(4, 4, 1), (1, 4, 8, 8))) == ()
    assert cautions(layer(nn.Conv2d(4, 8, 3), (1, 4, 8, 8))) == ()


def test_mistakes() -> None:
    net, analysed = network()
    with pytest.raises(AdvisorError, match="got form='other', expected conv or kernel"):
        OrthogonalSettings(form="other")
    with pytest.raises(AdvisorError, match="got strength=0, expected more than 0"):
        OrthogonalSettings(strength=0)
    with pytest.raises(AdvisorError, match="has no layer '2' with a weight"):
        Orthogonality(nn.Identity(), regularised(analysed))
    with pytest.raises(AdvisorError, match="got no layers"):
        Orthogonality(net, ())
    with pytest.raises(AdvisorError, match="no convolution behind its first"):
        regularised(advisor.analyze(nn.Sequential(nn.Conv2d(3, 4, 3)), torch.zeros(1, 3, 8, 8)))
