"""What is offered to which layer."""

import pytest
import torch
from torch import nn

from advisor.errors import PatternError
from advisor.network import Network
from advisor.patterns.base import pattern_names
from advisor.patterns.candidates import candidates, end_layers
from advisor.patterns.option import DENSE
from advisor.trace import analyze


def trace(model: nn.Module, *shape: int) -> Network:
    with torch.device("meta"):
        return analyze(model.to("meta"), shape)


class Small(nn.Module):
    """Stem, depthwise, pointwise, a linear layer in the middle and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.stem = nn.Conv2d(3, 32, 3)
        self.depth = nn.Conv2d(32, 32, 3, groups=32)
        self.point = nn.Conv2d(32, 64, 1)
        self.hidden = nn.Linear(64, 32)
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.point(self.depth(self.stem(self.norm(x)))).mean((2, 3))
        return self.head(self.hidden(x).relu()).softmax(-1)


def test_ends_stay_dense_unless_asked():
    network = trace(Small(), 1, 3, 16, 16)
    assert end_layers(network) == {"stem": "reads the network's input", "head": "is the network's classifier"}
    offered = candidates(network, pattern_names())
    assert list(offered) == ["stem", "depth", "point", "hidden", "head"]
    assert [name for name, options in offered.items() if options == (DENSE,)] == ["stem", "depth", "head"]
    asked = candidates(network, pattern_names(), include_ends=True)
    assert [name for name, options in asked.items() if options == (DENSE,)] == ["depth"]


def test_only_the_named_patterns_in_their_order_and_dense_first():
    network = trace(Small(), 1, 3, 16, 16)
    options = candidates(network, ("n:m", "channel", "width"), densities=(0.5, 0.1))["point"]
    assert [option.label for option in options] == [
        "dense d=1",
        "n:m d=0.5 m=4 n=2",
        "n:m d=0.5 m=8 n=4",
        "channel d=0.5",
        "channel d=0.1",
    ]
    with pytest.raises(PatternError, match="unknown pattern 'chanel'; did you mean 'channel'"):
        candidates(network, ("chanel",))


def test_nothing_named_leaves_everything_dense():
    assert all(options == (DENSE,) for options in candidates(trace(Small(), 1, 3, 16, 16), ()).values())


class Heads(nn.Module):
    """A detector in small: two pointwise heads whose outcomes are concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
        self.one, self.two = nn.Conv2d(8, 2, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.body(self.stem(x))
        return torch.cat([self.one(x).flatten(1), self.two(x).flatten(1)], 1)


def test_all_heads_are_ends():
    assert set(end_layers(trace(Heads(), 1, 3, 12, 12))) == {"stem", "one", "two"}


class Headless(nn.Module):
    """A residual backbone: its last block is no classifier. The embedding is no image."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 8)
        self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.words(x.long())
        return x + self.last(self.first(x).relu())


def test_a_headless_network_fed_by_words_has_no_ends():
    assert end_layers(trace(Headless(), 1, 5)) == {}
