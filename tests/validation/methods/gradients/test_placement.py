"""Which gradient of which layer is pruned, found from the operators of networks as they are written."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

import advisor
from advisor.errors import AdvisorError
from validation.methods.gradients import Site, place


def sites(net: nn.Module, shape: tuple[int, ...] = (1, 4, 8, 8), linear: bool = False) -> dict[str, Site]:
    return {site.layer.name: site for site in place(advisor.analyze(net, torch.zeros(shape)), linear=linear)}


def conv() -> nn.Conv2d:
    return nn.Conv2d(4, 4, 3, padding=1)


def test_conv_relu_prunes_the_input_and_conv_norm_relu_the_output() -> None:
    net = nn.Sequential(conv(), nn.ReLU(), conv(), nn.ReLU(), conv(), nn.BatchNorm2d(4), nn.ReLU(inplace=True), conv())
    found = sites(net)
    assert [site.at for site in found.values()] == ["nowhere", "input", "output", "output"]
    assert found["0"].reads_input
    assert "no dI" in found["0"].why
    assert [site.masked for site in found.values()] == [False, True, True, True]
    assert found["4"].why == "batch_norm makes dO dense"
    assert found["7"].why == "dO comes dense from the loss"


@pytest.mark.parametrize(
    ("after", "at"),
    [
        (nn.ReLU6, "input"),
        (lambda: nn.MaxPool2d(2), "input"),
        (lambda: nn.Sequential(nn.Dropout(0.5), nn.ReLU()), "input"),
        (lambda: nn.Threshold(0.1, 0.0), "input"),
        (lambda: nn.Hardtanh(0.0, 1.0), "input"),
        (nn.Hardtanh, "output"),
        (nn.GELU, "output"),
        (lambda: nn.LeakyReLU(), "output"),
        (lambda: nn.GroupNorm(2, 4), "output"),
        (lambda: nn.Sequential(nn.AvgPool2d(2), nn.ReLU()), "output"),
        (nn.Identity, "output"),
    ],
)
def test_what_follows_decides(after: Callable[[], nn.Module], at: str) -> None:
    net = nn.Sequential(conv(), nn.ReLU(), conv(), after())
    assert sites(net)["2"].at == at


class Residual(nn.Module):
    """Two convolutions without norms; the second one's output is added to the block's input before the ReLU."""

    def __init__(self, *, tap: bool = False) -> None:
        super().__init__()
        self.stem, self.one, self.two, self.tap = conv(), conv(), conv(), tap

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).relu()
        y = self.two(self.one(x).relu())
        out = torch.relu(x + y)
        return out + y.mean() if self.tap else out


def test_additions_hand_on_what_relu_left() -> None:
    assert [site.at for site in sites(Residual()).values()] == ["nowhere", "input", "input"]


def test_one_dense_reader_is_enough() -> None:
    found = sites(Residual(tap=True))["two"]
    assert (found.at, found.why) == ("output", "mean makes dO dense")


class Split(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.norm = conv(), nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.cat([x, x * 2], 1)[:, :4]
        left, right = self.one(x).chunk(2, 1)
        return torch.cat([left.relu(), self.norm(right).relu()], 1).sum() + self.two(x).relu()


def test_splits_are_followed_into_every_part() -> None:
    found = sites(Split())
    assert found["one"].at == "output"
    assert found["two"].at == "nowhere"
    assert found["two"].reads_input


def test_linear_layers_on_request() -> None:
    net = nn.Sequential(conv(), nn.ReLU(), nn.Flatten(), nn.Linear(256, 8), nn.ReLU(), nn.Linear(8, 3))
    assert set(sites(net)) == {"0"}
    found = sites(net, linear=True)
    assert [found[name].at for name in ("3", "5")] == ["input", "output"]
    assert found["3"].masked
    with pytest.raises(AdvisorError, match="has no convolution; prune its linear layers with linear=true"):
        sites(nn.Linear(4, 2), (1, 4))


def test_weights_used_from_outside_stay_alone() -> None:
    class Outside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = conv()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.conv2d(x, self.conv.weight, self.conv.bias).relu()

    assert {site.why for site in sites(Outside()).values()} == {"its weight is used from outside its module"}
