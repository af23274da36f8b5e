"""The source paper's accounting by density, recomputed layer by layer (Changpinyo et al. 2017, Table 1)."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from advisor.coupling import kept_channels_of
from advisor.network import Network
from advisor.patterns.base import kept_of, pattern
from advisor.patterns.candidates import end_layers
from advisor.patterns.option import DENSE, Option
from advisor.trace import analyze
from tests.patterns.layers import layer


class VGG16n(nn.Module):
    """VGG-16 whose 4096-wide layers are replaced by 2x2 pooling and a 3x3 convolution of depth 1024."""

    def __init__(self) -> None:
        super().__init__()
        vgg = torchvision.models.vgg16()
        self.features = vgg.features
        self.top = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(512, 1024, 3), nn.ReLU())
        self.classifier = nn.Linear(1024, 1000)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(torch.flatten(self.top(self.features(images)), 1))


def by_density(network: Network, alpha: float) -> tuple[int, int]:
    """Weights and MACs of the convolutions with the image's dense and the others at `alpha`."""
    ends = end_layers(network)
    weights = macs = 0
    for one in network.sparsifiable:
        if one.is_conv:
            option = DENSE if one.name in ends else Option(pattern="channel", density=alpha)
            weights += pattern(option.pattern).kept_weights(one, option)
            macs += pattern(option.pattern).macs(one, option)
    return weights, macs


@pytest.fixture(scope="module")
def inception() -> Network:
    with torch.device("meta"):
        model = torchvision.models.inception_v3(init_weights=False)
    return analyze(model, (1, 3, 299, 299))


@pytest.fixture(scope="module")
def vgg16n() -> Network:
    with torch.device("meta"):
        model = VGG16n()
    return analyze(model, (1, 3, 224, 224))


@pytest.mark.parametrize(
    ("alpha", "weights", "million_macs"),
    [
        (0.003, 112_064, 77.6),
        (0.01, 242_320, 99.6),
        (0.03, 679_792, 204.1),
        (0.1, 2_203_424, 613.0),
        (0.3, 6_559_232, 1747.0),
        (0.6, 13_078_560, 3459.0),
        (1.0, 21_751_136, 5711.2),
    ],
)
def test_inception_v3(inception, alpha, weights, million_macs):
    kept, macs = by_density(inception, alpha)
    assert kept == weights
    assert macs / 1e6 == pytest.approx(million_macs, abs=0.05)
    if alpha == 1:
        assert macs == 5_711_168_096


def test_inception_v3_has_the_shapes_that_the_accounting_starts_from(inception):
    convolutions = [one for one in inception.sparsifiable if one.is_conv]
    assert len(convolutions) == 94
    assert sum(one.out_channels for one in convolutions) == 17_216
    assert sum(one.weights for one in inception.sparsifiable if not one.is_conv) == 2_048_000  # 2,049,000 with biases


@pytest.fixture(scope="module")
def calls():
    """(Convolution, output positions) of torchvision's own modules on meta tensors, the auxiliary head left out."""
    found = []
    with torch.device("meta"):
        model = torchvision.models.inception_v3(init_weights=False).eval()
    for child in model.modules():
        if isinstance(child, nn.Conv2d):
            child.register_forward_hook(lambda module, args, out: found.append((module, math.prod(out.shape[2:]))))
    model(torch.zeros(1, 3, 299, 299, device="meta"))
    return found


@pytest.mark.parametrize("alpha", [0.003, 0.01, 0.03, 0.1, 0.3, 0.6, 1.0])
def test_inception_v3_to_the_integer(inception, calls, alpha):
    """Every output reads max(1, ⌈alpha n⌉) of its n inputs, the image's convolution all of them."""
    weights = macs = 0
    for module, positions in calls:
        inputs = 3 if module.in_channels == 3 else max(1, math.ceil(Fraction(str(alpha)) * module.in_channels))
        each = module.out_channels * inputs * math.prod(module.kernel_size)
        weights, macs = weights + each, macs + each * positions
    assert by_density(inception, alpha) == (weights, macs)


def test_inception_v3_without_the_floor_of_one_input(inception):
    """At alpha = 0.003 the share alone gives 36.3 M multiply-adds, against 77.6 M with the floor and 82 M published."""
    shares = (one.macs * (1 if one.in_channels == 3 else 0.003) for one in inception.sparsifiable if one.is_conv)
    assert round(sum(shares) / 1e6, 1) == 36.3


@pytest.mark.parametrize(
    ("alpha", "rounding", "weights"),
    [
        (0.05, "multiple8", "51 k"), (0.1, "multiple8", "174 k"), (0.2, "multiple8", "757 k"),
        (0.3, "multiple8", "1.82 M"), (0.5, "multiple8", "5.44 M"), (0.8, "multiple8", "13.5 M"),
        (1.0, "ceil", "21.8 M"),
    ],
)  # fmt: skip
def test_depth_multiplier_weights_of_each_layer_alone(inception, alpha, rounding, weights):
    """What the published rows fit: floor to a multiple of 8, at least 8, on both sides of every layer."""
    kept = 0
    for one in inception.sparsifiable:
        if one.is_conv:
            inputs = 3 if one.in_channels == 3 else kept_channels_of(alpha, one.in_channels, rounding)
            kept += inputs * kept_channels_of(alpha, one.out_channels, rounding) * math.prod(one.kernel)
    assert (f"{kept / 1e3:.0f} k" if kept < 1e6 else f"{kept / 1e6:.3g} M") == weights


@pytest.mark.parametrize(
    ("alpha", "weights"), [(0.01, 231_552), (0.03, 608_832), (0.05, 991_296), (0.1, 1_975_680), (1.0, 19_429_056)]
)
def test_vgg16n(vgg16n, alpha, weights):
    assert by_density(vgg16n, alpha)[0] == weights


@pytest.mark.parametrize(("channels", "density"), [(512, 1 / 512), (512, 2 / 512), (512, 6 / 512), (64, 1 / 64)])
def test_unused_inputs_are_as_many_as_chance_says(channels, density):
    """n outputs that each draw c of n inputs leave n(1 - c/n)^n unread: 188, 69, 1.2 of 512 and 23 of 64."""
    one, option = layer("conv2d", channels, channels, (1, 1)), Option(pattern="channel", density=density)
    unused = [int((~pattern("channel").connections(one, option, seed=seed).any(axis=0)).sum()) for seed in range(20)]
    c = kept_of(density, channels)
    expected = channels * (1 - c / channels) ** channels
    error = np.std(unused, ddof=1) / len(unused) ** 0.5
    assert abs(np.mean(unused) - expected) < 4 * error


def test_every_input_is_drawn_equally_often():
    one, option = layer("conv2d", 100, 20, (1, 1)), Option(pattern="channel", density=0.25)
    drawn = sum(pattern("channel").connections(one, option, seed=seed).sum(axis=0) for seed in range(100))
    # 10,000 rows each draw 5 of 20: 2,500 per input, standard deviation sqrt(10,000 * 0.25 * 0.75) = 43.
    assert drawn.sum() == 50_000
    assert (abs(drawn - 2500) < 4 * 43).all()
