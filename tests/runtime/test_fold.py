"""Folding changes no output, takes every batch norm that can go, and leaves every one that cannot."""

import copy

import pytest
import torch
import torchvision
from torch import nn

from advisor.runtime.fold import fold
from advisor.runtime.sparse import Sparse
from advisor.trace import analyze
from tests.runtime.sparse_cases import pair


def unsettle(module: nn.Module) -> nn.Module:
    """Gives every norm statistics and scales of its own, so that a wrong fold shows."""
    generator = torch.Generator().manual_seed(0)
    for child in module.modules():
        if getattr(child, "running_mean", None) is not None:
            child.running_mean.copy_(torch.randn(child.running_mean.shape, generator=generator) * 0.3)
            child.running_var.copy_(torch.rand(child.running_var.shape, generator=generator) + 0.5)
            if child.weight is not None:
                child.weight.data.copy_(torch.rand(child.weight.shape, generator=generator) + 0.5)
                child.bias.data.copy_(torch.randn(child.bias.shape, generator=generator) * 0.3)
    return module.eval()


def norms(module: nn.Module) -> int:
    return sum(getattr(child, "running_mean", None) is not None for child in module.modules())


def check(module: nn.Module, x: torch.Tensor, left: int) -> nn.Module:
    unsettle(module)
    before = copy.deepcopy(module.state_dict())
    folded = fold(module, analyze(module, x))
    with torch.no_grad():
        torch.testing.assert_close(folded(x), module(x), rtol=1e-4, atol=1e-5)
    assert norms(folded) == left
    assert all(torch.equal(value, module.state_dict()[key]) for key, value in before.items()), (
        "the argument was changed"
    )
    return folded


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "size", "left"),
    [
        ("resnet18", 64, 0),
        ("mobilenet_v3_small", 64, 0),
        ("shufflenet_v2_x0_5", 64, 0),
        pytest.param("mobilenet_v2", 64, 0, marks=SLOW),
        pytest.param("efficientnet_b0", 64, 0, marks=SLOW),
        pytest.param("mnasnet0_5", 64, 0, marks=SLOW),
        pytest.param("vgg11_bn", 32, 0, marks=SLOW),
        pytest.param("densenet121", 64, 62, marks=SLOW),
        # One norm in each auxiliary head, which evaluation never runs.
        pytest.param("googlenet", 64, 2, marks=SLOW),
        pytest.param("inception_v3", 96, 2, marks=SLOW),
        pytest.param("regnet_y_400mf", 64, 0, marks=SLOW),
    ],
)
def test_families(name: str, size: int, left: int) -> None:
    torch.manual_seed(0)
    kwargs = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    check(getattr(torchvision.models, name)(**kwargs), torch.randn(1, 3, size, size), left)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_transposed(groups: int, bias: bool) -> None:
    net = nn.Sequential(nn.ConvTranspose2d(4, 6, 3, stride=2, groups=groups, bias=bias), nn.BatchNorm2d(6))
    check(net, torch.randn(2, 4, 5, 5), 0)


def test_linear_and_its_neighbours() -> None:
    check(nn.Sequential(nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6), nn.ReLU()), torch.randn(3, 4), 0)
    # B L C: the norm works on axis 1, which is not the linear layer's output axis.
    check(nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(5)), torch.randn(3, 5, 4), 1)
    check(nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6)), torch.randn(3, 6, 4), 1)


def test_what_must_stay() -> None:
    class TwoReaders(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv(x)
            return self.norm(y) + y

    class SharedConv(TwoReaders):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(self.conv(self.conv(x)))

    class SharedNorm(TwoReaders):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(self.norm(self.conv(x)))

    class Activated(TwoReaders):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(self.conv(x).relu())

    class AlsoOutput(TwoReaders):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv(x)
            self.norm(y)
            return y

    class Tied(TwoReaders):
        def __init__(self) -> None:
            super().__init__()
            self.twin = nn.Conv2d(3, 3, 1)
            self.twin.weight = self.conv.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(self.conv(x)) + self.twin(x)

    torch.manual_seed(0)
    for kind in (TwoReaders, SharedConv, SharedNorm, Activated, AlsoOutput, Tied):
        check(kind(), torch.randn(2, 3, 4, 4), 1)
    check(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)), torch.randn(2, 3, 4, 4), 1)
    check(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, affine=False)), torch.randn(2, 3, 4, 4), 0)
    check(nn.Sequential(nn.Conv2d(3, 3, 1), nn.InstanceNorm2d(3, track_running_stats=True)), torch.randn(2, 3, 4, 4), 1)


def test_a_norm_without_statistics_stays() -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)).eval()
    x = torch.randn(2, 3, 4, 4)
    folded = fold(net, analyze(net, x))
    assert isinstance(folded[1], nn.BatchNorm2d)
    torch.testing.assert_close(folded(x), net(x))


def test_a_layer_with_its_own_forward_is_tried_out() -> None:
    class Padded(nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self._conv_forward(nn.functional.pad(x, (0, 1, 0, 1)), self.weight, self.bias)

    class Scaled(nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self._conv_forward(x, self.weight, None) * 2

    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 6)
    check(nn.Sequential(Padded(3, 4, 3, stride=2, bias=False), nn.BatchNorm2d(4)), x, 0)
    check(nn.Sequential(Scaled(3, 4, 3, bias=False), nn.BatchNorm2d(4)), x, 1)


def test_frozen_norms_and_recorded_runs() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
            self.frozen_conv, self.frozen = nn.Conv2d(4, 4, 3), torchvision.ops.FrozenBatchNorm2d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if float(x.sum()) > 1e9:  # control flow on data: torch.export gives up
                x = x + 1
            return self.frozen(self.frozen_conv(self.norm(self.conv(x)).relu()))

    module, x = unsettle(Branches()), torch.randn(2, 3, 6, 6)
    network = analyze(module, x)
    assert network.origin == "recorded"
    folded = fold(module, network)
    assert norms(folded) == 0
    torch.testing.assert_close(folded(x), module(x), rtol=1e-4, atol=1e-5)


def test_timm_keeps_its_activation() -> None:
    layers = pytest.importorskip("timm.layers")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), layers.BatchNormAct2d(4), nn.Conv2d(4, 4, 1))
    folded = check(net, torch.randn(2, 3, 6, 6), 0)
    assert any(isinstance(child, nn.ReLU) for child in folded.modules())


@pytest.mark.slow
def test_timm_with_padded_convolutions() -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    check(timm.create_model("tf_efficientnet_b0"), torch.randn(1, 3, 64, 64), 0)


def test_without_an_analysis_only_sequences_are_folded() -> None:
    net = unsettle(torchvision.models.resnet18())
    x = torch.randn(1, 3, 64, 64)
    folded = fold(net)
    assert 0 < norms(folded) < norms(net)
    with torch.no_grad():
        torch.testing.assert_close(folded(x), net(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("block", [1, 4])
@pytest.mark.parametrize("groups", [1, 2])
def test_sparse_layers_fold(block: int, groups: int) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(4, 8, 3, bias=False, groups=groups), nn.BatchNorm2d(8))
    net[0], _ = pair(net[0], block)
    x = torch.randn(2, 4, 6, 6)
    dense = nn.Sequential(net[0].to_dense(), net[1])
    network = analyze(unsettle(dense), x)
    folded = fold(unsettle(net), network)
    assert norms(folded) == 0
    assert isinstance(folded[0], Sparse)
    torch.testing.assert_close(folded(x), net(x), rtol=1e-4, atol=1e-5)
    flat = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))
    flat[0], _ = pair(flat[0], block)
    rows = torch.randn(5, 4)
    network = analyze(unsettle(nn.Sequential(flat[0].to_dense(), flat[1])), rows)
    folded = fold(unsettle(flat), network)
    assert norms(folded) == 0
    torch.testing.assert_close(folded(rows), flat(rows), rtol=1e-4, atol=1e-5)


def test_a_norm_behind_a_fused_activation_stays() -> None:
    net = nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8))
    net[0], dense = pair(net[0], 4)
    network = analyze(unsettle(nn.Sequential(dense, net[1])), torch.zeros(2, 4, 6, 6))
    net[0].activation = "relu"
    assert norms(fold(net, network)) == 1


def test_half_precision_keeps_its_dtype() -> None:
    net = unsettle(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))).to(torch.bfloat16)
    folded = fold(net, analyze(net, torch.zeros(1, 3, 6, 6, dtype=torch.bfloat16)))
    assert folded[0].bias.dtype == folded[0].weight.dtype == torch.bfloat16
